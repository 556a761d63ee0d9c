/* SPDX-License-Identifier: MIT */
/* double_free_threads.c - two threads that do not own a small block free it, one after the
 * other. */
#include "abuse/abuse.h"

#include <pthread.h>

static void *
run_free(void *mem)
{
    free(mem);
    return NULL;
}

int
main(void)
{
    void *mem = block(100);

    for (int i = 0; i < 2; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, run_free, mem) != 0)
            return 99;
        (void)pthread_join(thread, NULL);
    }
    return 0;
}
