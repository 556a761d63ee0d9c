/* SPDX-License-Identifier: MIT */
/* row06_sync.c - when what was stored in a mapped file gets to the disk.
 *
 * Technique   The mapping stays for as long as the processes talk; the kernel writes pages back
 *             when it likes, or at msync, here huma_shared_sync.
 * Shows       Pages are dirty before the call, none is after it, and what was stored comes back
 *             from the disk when the kernel's copy is dropped. For an arena in memory the call does
 *             nothing, and says 0.
 * Run         cc -O2 row06_sync.c -o row06_sync $(pkg-config --cflags --libs huma)
 *             ./row06_sync /var/tmp/x.huma
 */
#include <fcntl.h>
#include <sys/vfs.h>

#include "rows.h"

#define TEXT "this was stored in memory"

static huma_shared *
create(const char *path)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.path = path;
    options.limit_bytes = 4 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    return shared;
}

/* KiB of a mapping that the disk does not have, as /proc/self/smaps says. */
static long
dirty_kib(const void *mem)
{
    unsigned long start;
    unsigned long end;
    char line[512];
    int is_inside = 0;
    long kib;
    long sum = 0;
    FILE *file = fopen("/proc/self/smaps", "r");

    need(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            is_inside = (unsigned long)mem >= start && (unsigned long)mem < end;
        else if (is_inside
                 && (sscanf(line, "Shared_Dirty: %ld", &kib) == 1
                     || sscanf(line, "Private_Dirty: %ld", &kib) == 1))
            sum += kib;
    }
    (void)fclose(file);
    return sum;
}

int
main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/var/tmp/row06.huma";
    huma_shared *memory = create(NULL);
    huma_shared *shared = create(path);
    uint64_t block = huma_shared_alloc_to(shared, huma_shared_root(shared, "text"), MIB);
    char *text = huma_shared_at(shared, block);
    char again[sizeof(TEXT)] = "";
    struct statfs fs;
    long before_kib;
    long after_kib;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    need(text != NULL && fd >= 0 && fstatfs(fd, &fs) == 0);
    memset(text, '.', MIB);
    strcpy(text, TEXT);
    before_kib = dirty_kib(text);
    /* A range, and all of it. */
    need(huma_shared_sync(shared, block, MIB) == 0 && huma_shared_sync(shared, 0, 0) == 0);
    after_kib = dirty_kib(text);
    need(huma_shared_sync(memory, 0, 0) == 0);
    huma_shared_detach(shared);
    /* Of this file only; nothing is to be written any more. */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    need(pread(fd, again, sizeof(again), (off_t)block) == sizeof(again));
    need(strcmp(again, TEXT) == 0 && unlink(path) == 0);
    if (fs.f_type == 0x01021994) {
        printf("%s is on a tmpfs, which has no disk\n", path);
        return SKIPPED;
    }
    need(before_kib >= (long)(MIB / KIB) && after_kib == 0);
    printf("dirty before %ld KiB, after %ld KiB; read again from the disk; of a memfd: 0\n",
           before_kib, after_kib);
    return 0;
}
