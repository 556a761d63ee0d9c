/* SPDX-License-Identifier: MIT */
/* row02_file.c - two processes map one file: what one stores the other sees, and the file holds it.
 *
 * Technique   A file mapped MAP_SHARED. A change in memory is a change of the file, and the other
 *             way round; nobody calls read or write.
 * Shows       B sees what A stored, and A what B stored; after huma_shared_sync any program finds
 *             it with plain read(2).
 * Run         cc -O2 row02_file.c -o row02_file $(pkg-config --cflags --libs huma)
 *             ./row02_file a /var/tmp/x.huma &  ./row02_file b /var/tmp/x.huma
 *             grep -a 'B has' /var/tmp/x.huma
 */
#include "rows.h"

struct note {
    _Atomic int turn; /* whose line is the last: 1 A's, 2 B's */
    char line[2][40];
    char body[4 * MIB];
};

/* The other process may not have come as far. */
static void
wait_for(struct note *note, int turn)
{
    for (int tries = 0; note->turn != turn; tries++) {
        need(tries < 5000);
        sleep_ms(1);
    }
}

static void
be_a(const char *path)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    struct note *note;
    uint64_t block;

    options.path = path;
    options.limit_bytes = 16 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    block = huma_shared_alloc_to(shared, huma_shared_root(shared, "note"), sizeof(*note));
    note = huma_shared_at(shared, block);
    need(note != NULL);
    strcpy(note->line[0], "A has stored this");
    memset(note->body, 'a', sizeof(note->body));
    note->turn = 1;
    wait_for(note, 2);
    need(huma_shared_sync(shared, 0, 0) == 0);
    printf("A reads \"%s\" without a call; %llu of %llu KiB huge\n", note->line[1],
           (unsigned long long)state_of(shared).huge_bytes / KIB,
           (unsigned long long)state_of(shared).resident_bytes / KIB);
    huma_shared_detach(shared);
}

static void
be_b(const char *path)
{
    huma_shared *shared;
    uint64_t block = 0;
    struct note *note;

    for (int tries = 0; (shared = huma_shared_open(path, 0)) == NULL; tries++) {
        need(errno == ENOENT && tries < 5000);
        sleep_ms(1);
    }
    for (int tries = 0; block == 0; tries++) {
        block = huma_shared_peek(shared, huma_shared_root(shared, "note"));
        need(tries < 5000);
        sleep_ms(1);
    }
    note = huma_shared_at(shared, block);
    wait_for(note, 1);
    need(note->body[sizeof(note->body) - 1] == 'a');
    printf("B reads \"%s\"\n", note->line[0]);
    strcpy(note->line[1], "B has stored that");
    note->turn = 2;
    huma_shared_detach(shared);
}

int
main(int argc, char **argv)
{
    if (argc != 3 || (strcmp(argv[1], "a") != 0 && strcmp(argv[1], "b") != 0)) {
        (void)fprintf(stderr, "usage: row02_file a|b FILE\n");
        return 2;
    }
    if (argv[1][0] == 'a')
        be_a(argv[2]);
    else
        be_b(argv[2]);
    return 0;
}
