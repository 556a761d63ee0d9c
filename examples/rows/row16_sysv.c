/* SPDX-License-Identifier: MIT */
/* row16_sysv.c - an arena in a System V segment, and what is left of both when a process is killed.
 *
 * Technique   shmget, shmat, shmdt, shmctl. A segment is found by a number, and stays when its last
 *             process has gone, with all its memory (ipcs -m shows it) until it is removed.
 * Shows       options.memory puts an arena into memory that the program got itself. Its creator is
 *             killed; another process finds the segment, attaches the arena, recovers what the dead
 *             one had, and removes it. An arena without a name would have gone by itself.
 * Run         cc -O2 row16_sysv.c -o row16_sysv $(pkg-config --cflags --libs huma)
 *             ./row16_sysv /var/tmp/alive
 */
#include <signal.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "rows.h"

#define SEGMENT_BYTES (16 * MIB)

static void *
attach_segment(int id)
{
    void *mem = shmat(id, NULL, 0);

    /* Not NULL, as one might think. */
    need(mem != (void *)-1); /* NOLINT */
    return mem;
}

static void
create_and_die(int id, const char *alive_path)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    uint64_t block;

    options.memory = attach_segment(id);
    options.memory_bytes = SEGMENT_BYTES;
    options.path = alive_path;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    block = huma_shared_alloc_to(shared, huma_shared_root(shared, "will"), 64);
    need(block != 0 && huma_shared_alloc(shared, 100000) != 0);
    strcpy(huma_shared_at(shared, block), "what the dead has published");
    (void)raise(SIGKILL);
}

int
main(int argc, char **argv)
{
    const char *alive_path = argc > 1 ? argv[1] : "/var/tmp/row16.alive";
    int id = shmget(IPC_PRIVATE, SEGMENT_BYTES, IPC_CREAT | 0600);
    struct shmid_ds segment;
    struct huma_shared_state state;
    huma_shared *shared;
    uint64_t block;
    pid_t child;

    if (id < 0) {
        printf("no System V segment: %s\n", strerror(errno));
        return SKIPPED;
    }
    child = fork();
    if (child == 0)
        create_and_die(id, alive_path);
    need(waitpid(child, NULL, 0) == child);
    need(shmctl(id, IPC_STAT, &segment) == 0 && segment.shm_nattch == 0);
    shared = huma_shared_attach_memory(attach_segment(id), SEGMENT_BYTES, alive_path, 0);
    /* Removed at once, it goes with the last process that has it. */
    need(shmctl(id, IPC_RMID, NULL) == 0);
    need(shared != NULL);
    state = state_of(shared);
    need(state.kind == HUMA_SHARED_MEMORY && huma_shared_recover(shared) == 1);
    block = huma_shared_take(shared, huma_shared_root(shared, "will"));
    need(block != 0 && strcmp(huma_shared_at(shared, block), "what the dead has published") == 0);
    need(huma_shared_free(shared, block) == 0 && state_of(shared).private_bytes == 0);
    huma_shared_detach(shared);
    need(unlink(alive_path) == 0);
    printf("segment %d outlived its killed creator (0 attached); %llu dead recovered, block kept\n",
           id, (unsigned long long)state.dead_count);
    return 0;
}
