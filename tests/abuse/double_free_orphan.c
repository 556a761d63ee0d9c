/* SPDX-License-Identifier: MIT */
/* double_free_orphan.c - a small block of a thread that has ended is freed twice. */
#include "abuse/abuse.h"

#include <pthread.h>

static void *
run_alloc(void *out)
{
    void **mem = out;

    mem[0] = block(100);
    mem[1] = block(100);
    return NULL;
}

int
main(void)
{
    void *mem[2];
    pthread_t thread;

    if (pthread_create(&thread, NULL, run_alloc, mem) != 0)
        return 99;
    (void)pthread_join(thread, NULL);
    free(mem[0]);
    free(hidden(mem[0]));
    return 0;
}
