/* SPDX-License-Identifier: MIT */
/* late.c - libhuma.so is opened by dlopen, in a thread, as plug-ins are: nothing of it was in the
 * process before.
 *
 * Usage       late LIBRARY
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "huma.h"

static void *
open_late(void *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    huma_arena *(*create)(const struct huma_arena_options *) = NULL;
    void *(*alloc)(huma_arena *, size_t) = NULL;
    void (*destroy)(huma_arena *) = NULL;
    huma_arena *late;

    if (library != NULL) {
        *(void **)&create = dlsym(library, "huma_arena_create");
        *(void **)&alloc = dlsym(library, "huma_arena_alloc");
        *(void **)&destroy = dlsym(library, "huma_arena_destroy");
    }
    if (create == NULL || alloc == NULL || destroy == NULL) {
        (void)fprintf(stderr, "late: %s\n", dlerror());
        return path;
    }
    late = create(NULL);
    if (late == NULL || alloc(late, 1000) == NULL)
        return path;
    memset(alloc(late, (size_t)8 << 20), 1, (size_t)8 << 20);
    destroy(late);
    puts("late: ok");
    return NULL;
}

/* The thread returns NULL if all went well. */
int
main(int argc, char **argv)
{
    pthread_t thread;
    void *result = NULL;

    return argc != 2 || pthread_create(&thread, NULL, open_late, argv[1]) != 0
           || pthread_join(thread, &result) != 0 || result != NULL;
}
