/* SPDX-License-Identifier: MIT */
/* row07_demo.c - a writer and a reader of one name, started in either order.
 *
 * Technique   Two programs map the same file. Who comes between the other's open and its first
 *             store finds half of something.
 * Shows       The reader finds no arena, or a whole one with a whole text or none: in either order,
 *             and if the writer is killed at any moment.
 * Run         cc -O2 row07_demo.c -o row07_demo $(pkg-config --cflags --libs huma)
 *             ./row07_demo reader greeting & ./row07_demo writer greeting
 *             ./row07_demo kill greeting
 */
#include <signal.h>

#include "rows.h"

#define TEXT "a text that is there whole or not at all"
#define KILLS 200

static int
be_writer(const char *name)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    uint64_t block;

    options.path = name;
    options.limit_bytes = 4 * MIB;
    shared = huma_shared_create(&options);
    if (shared == NULL && errno == EEXIST)
        shared = huma_shared_open(name, 0);
    need(shared != NULL);
    block = huma_shared_alloc(shared, sizeof(TEXT));
    need(block != 0);
    strcpy(huma_shared_at(shared, block), TEXT);
    need(huma_shared_publish(shared, huma_shared_root(shared, "text"), block) == 0
         || errno == EEXIST);
    return 0;
}

/* Returns what is there: 0 no arena, 1 an arena, 2 with the text. */
static int
look(const char *name)
{
    huma_shared *shared = huma_shared_open(name, 0);
    uint64_t block;

    if (shared == NULL) {
        need(errno == ENOENT);
        return 0;
    }
    need(huma_shared_verify(shared) == 0);
    block = huma_shared_peek(shared, huma_shared_root(shared, "text"));
    need(block == 0 || strcmp(huma_shared_at(shared, block), TEXT) == 0);
    huma_shared_detach(shared);
    return block == 0 ? 1 : 2;
}

static int
kill_writers(const char *name)
{
    int counts[3] = { 0 };

    for (int i = 0; i < KILLS; i++) {
        struct timespec pause = { 0, i * 5000 };
        pid_t child = fork();

        if (child == 0)
            _exit(be_writer(name));
        (void)nanosleep(&pause, NULL);
        need(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        counts[look(name)]++;
        need(huma_shared_remove(name) == 0 || errno == ENOENT);
    }
    printf("of %d writers killed: %d left no arena, %d an empty one, %d one with the whole text\n",
           KILLS, counts[0], counts[1], counts[2]);
    return 0;
}

int
main(int argc, char **argv)
{
    int tries = 0;

    if (argc == 3 && strcmp(argv[1], "writer") == 0)
        return be_writer(argv[2]);
    if (argc == 3 && strcmp(argv[1], "kill") == 0)
        return kill_writers(argv[2]);
    if (argc != 3 || strcmp(argv[1], "reader") != 0) {
        (void)fprintf(stderr, "usage: row07_demo writer|reader|kill NAME\n");
        return 2;
    }
    while (look(argv[2]) != 2) {
        need(tries++ < 5000);
        sleep_ms(1);
    }
    printf("the reader has: %s\n", TEXT);
    return 0;
}
