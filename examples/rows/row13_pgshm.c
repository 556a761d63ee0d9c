/* SPDX-License-Identifier: MIT */
/* row13_pgshm.c - a database's shared memory: huge pages on, try or off; one server a folder.
 *
 * Technique   PostgreSQL keeps its shared memory in one anonymous mapping, on huge pages as
 *             huge_pages=on, try or off says, and a small System V segment besides, by which a
 *             second server on the same folder finds that processes of the first still live.
 * Shows       The same with two arenas: one in a file of the folder, which cannot be removed while
 *             anybody has it attached, and one in memory. Four backends allocate and free in it at
 *             once. "try" takes what there is before it begins, so that nobody dies of SIGBUS
 *             later, also not under the limit of a cgroup.
 * Run         cc -O2 row13_pgshm.c -o row13_pgshm $(pkg-config --cflags --libs huma)
 *             ./row13_pgshm /var/tmp/data on|try|off [SECONDS]
 */
#include "rows.h"

#define BACKENDS 4
#define OBJECTS 1000000

/* Refuse to start while any process of another server lives, be it an orphaned backend. */
static huma_shared *
start(const char *folder)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *lock;
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/server.huma", folder);
    options.path = path;
    options.limit_bytes = 2 * MIB;
    lock = huma_shared_create(&options);
    if (lock == NULL && errno == EEXIST) {
        if (huma_shared_remove(path) != 0 && errno == EBUSY) {
            printf("refused: a server is at work on %s\n", folder);
            exit(3);
        }
        lock = huma_shared_create(&options);
    }
    need(lock != NULL);
    return lock;
}

/* What huge_pages=on, try and off of PostgreSQL say. */
static huma_shared *
create(const char *huge)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.name = "buffers";
    options.backing = strcmp(huge, "on") == 0    ? "hugetlb"
                      : strcmp(huge, "try") == 0 ? "hugetlb,thp,4k"
                                                 : "4k";
    options.limit_bytes = 14 * MIB;
    options.initial_bytes = options.limit_bytes;
    shared = huma_shared_create(&options);
    if (shared == NULL) {
        printf("huge=%s: refused: %s\n", huge, huma_last_error());
        exit(4);
    }
    return shared;
}

static void
be_backend(huma_shared *shared, huma_shared *lock)
{
    uint64_t kept[64] = { 0 };

    /* A call attaches it: who lives after the server stands in for it. */
    need(state_of(lock).process_count > 0 && huma_shared_recover(lock) >= 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        uint64_t *slot = &kept[i % 64];

        need(huma_shared_free(shared, *slot) == 0);
        need((*slot = huma_shared_alloc(shared, 16 + i % 500)) != 0);
        *(unsigned *)huma_shared_at(shared, *slot) = i;
    }
    _exit(0);
}

int
main(int argc, char **argv)
{
    huma_shared *lock;
    huma_shared *shared;
    pid_t backends[BACKENDS];
    struct huma_shared_state state;

    if (argc < 3) {
        (void)fprintf(stderr, "usage: row13_pgshm FOLDER on|try|off [SECONDS]\n");
        return 2;
    }
    lock = start(argv[1]);
    shared = create(argv[2]);
    for (int i = 0; i < BACKENDS; i++) {
        backends[i] = fork();
        if (backends[i] == 0)
            be_backend(shared, lock);
    }
    for (int i = 0; i < BACKENDS; i++)
        need(is_well(backends[i]));
    need(huma_shared_recover(shared) == BACKENDS && huma_shared_verify(shared) == 0);
    state = state_of(shared);
    need(state.private_bytes == 0);
    printf("huge=%s: %d backends x %d objects; %llu of %llu KiB huge, pages of %llu KiB\n", argv[2],
           BACKENDS, OBJECTS, (unsigned long long)state.huge_bytes / KIB,
           (unsigned long long)state.resident_bytes / KIB,
           (unsigned long long)state.page_bytes / KIB);
    (void)fflush(stdout);
    (void)sleep(argc > 3 ? (unsigned)atoi(argv[3]) : 0);
    return 0;
}
