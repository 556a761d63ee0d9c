/* SPDX-License-Identifier: MIT */
/* row11_poll.c - A looks now and then; B changes something, and ends: A sees it.
 *
 * Technique   What is mapped stays, whoever else ends. So a process can leave a message, and go.
 * Shows       A's pointer stays good when B exits or is killed; A also sees that B has gone:
 *             process_count falls from 2 to 1, since the kernel gives up B's lock when B dies.
 * Run         cc -O2 row11_poll.c -o row11_poll $(pkg-config --cflags --libs huma)
 *             ./row11_poll a board & sleep 1; ./row11_poll b board kill
 */
#include <signal.h>

#include "rows.h"

struct board {
    _Atomic int is_seen; /* A has seen that B is there */
    _Atomic int value;   /* B's */
};

static void
be_a(const char *name)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    struct huma_shared_state state;
    struct board *board;
    int tries = 0;

    options.path = name;
    options.limit_bytes = 4 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    board = huma_shared_at(
        shared, huma_shared_alloc_to(shared, huma_shared_root(shared, "board"), sizeof(*board)));
    need(board != NULL);
    do {
        sleep_ms(5);
        state = state_of(shared);
        if (state.process_count == 2)
            board->is_seen = 1;
        need(tries++ < 4000);
    } while (board->value == 0 || state.process_count > 1);
    printf("A sees %d after B has gone; processes 2 -> %llu, %llu dead\n", board->value,
           (unsigned long long)state.process_count, (unsigned long long)state.dead_count);
    need(huma_shared_recover(shared) == (int)state.dead_count);
    need(state_of(shared).dead_count == 0);
    huma_shared_detach(shared);
    need(huma_shared_remove(name) == 0);
}

static void
be_b(const char *name, int is_killed)
{
    huma_shared *shared;
    struct board *board;
    uint64_t block;
    int tries = 0;

    while ((shared = huma_shared_open(name, 0)) == NULL && tries++ < 5000)
        sleep_ms(1);
    need(shared != NULL);
    while ((block = huma_shared_peek(shared, huma_shared_root(shared, "board"))) == 0) {
        need(tries++ < 5000);
        sleep_ms(1);
    }
    board = huma_shared_at(shared, block);
    while (board->is_seen == 0 && tries++ < 20000)
        sleep_ms(1);
    board->value = 42;
    if (is_killed)
        (void)raise(SIGKILL);
    huma_shared_detach(shared);
}

int
main(int argc, char **argv)
{
    if (argc < 3 || (strcmp(argv[1], "a") != 0 && strcmp(argv[1], "b") != 0)) {
        (void)fprintf(stderr, "usage: row11_poll a NAME, row11_poll b NAME [kill]\n");
        return 2;
    }
    if (argv[1][0] == 'a')
        be_a(argv[2]);
    else
        be_b(argv[2], argc > 3);
    return 0;
}
