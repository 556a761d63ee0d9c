/* SPDX-License-Identifier: MIT */
/* row20_posix.c - shared memory with a name.
 *
 * Technique   shm_open("/name"), ftruncate, mmap: any process finds it by its name, in /dev/shm. It
 *             may be found before it is complete, and ftruncate reserves nothing.
 * Shows       An arena of a name is found by another process, on huge pages where there are any;
 *             there is only one of a name, it cannot be removed while a process has it, and then it
 *             can.
 * Run         cc -O2 row20_posix.c -o row20_posix $(pkg-config --cflags --libs huma)
 *             ./row20_posix [NAME]
 */
#include "rows.h"

static int
look(const char *name)
{
    huma_shared *shared = huma_shared_open(name, 0);
    uint64_t block;

    need(shared != NULL);
    block = huma_shared_peek(shared, huma_shared_root(shared, "text"));
    need(block != 0 && strcmp(huma_shared_at(shared, block), "by name") == 0);
    huma_shared_detach(shared);
    return 0;
}

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    struct huma_shared_state state;
    huma_shared *shared;
    uint64_t block;
    char name[64];
    pid_t child;

    if (argc == 3 && strcmp(argv[1], "look") == 0)
        return look(argv[2]);
    (void)snprintf(name, sizeof(name), "row20.%d", (int)getpid());
    options.path = argc > 1 ? argv[1] : name;
    options.limit_bytes = 16 * MIB;
    options.initial_bytes = 4 * MIB;
    need(huma_shared_open(options.path, 0) == NULL && errno == ENOENT);
    shared = huma_shared_create(&options);
    need(shared != NULL);
    block = huma_shared_alloc_to(shared, huma_shared_root(shared, "text"), 2 * MIB);
    need(block != 0);
    strcpy(huma_shared_at(shared, block), "by name");
    need(huma_shared_create(&options) == NULL && errno == EEXIST);
    need(huma_shared_remove(options.path) == -1 && errno == EBUSY);
    child = fork();
    if (child == 0) {
        (void)execl("/proc/self/exe", "row20_posix", "look", options.path, (char *)NULL);
        _exit(1);
    }
    need(is_well(child));
    state = state_of(shared);
    need(state.kind == HUMA_SHARED_FILE);
    huma_shared_detach(shared);
    need(huma_shared_remove(options.path) == 0);
    need(huma_shared_remove(options.path) == -1 && errno == ENOENT);
    printf("found by name, %llu of %llu KiB huge; in use: EBUSY, then removed, then ENOENT\n",
           (unsigned long long)state.huge_bytes / KIB,
           (unsigned long long)state.resident_bytes / KIB);
    return 0;
}
