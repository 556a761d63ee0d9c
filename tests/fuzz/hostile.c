/* SPDX-License-Identifier: MIT */
/* hostile.c - files that pretend to be a shared arena, each attached by a process of its own.
 *
 * Problem     Whoever is handed a descriptor does not know what it is. Whatever it is, a process
 *             that attaches it must not be ended by a signal, and not be kept for ever.
 * Idea        Each byte of the header is set to eight values, with the old checksum and a new one;
 *             the file is cut everywhere; numbers of the header and words of the state are replaced
 *             at random; somebody writes while the visitor is at work; there are descriptors of
 *             all other kinds, and messages that bring none. For each a child goes through
 *             everything (visitor.h). It has a second of processor time, and a minute if it only
 *             waits.
 *
 * Usage       hostile [CASES [SEED [SECONDS]]]   CASES of each random kind; default 400 1 1
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/visitor.h"

enum {
    ATTACHED = 40, /* exit statuses that no sanitizer uses */
    REFUSED = 41,
    FAULTS_SHOWN = 10,
    WORDS_MAX = 64,
    WAIT_S = 60,
    SCRIBBLERS = 24,
};

static struct image image;
static rlim_t time_s = 1;    /* that a visitor may take of a processor */
static unsigned char *bytes; /* of the case at hand */
static long fault_count;
static long attached_count;
static long refused_count;

static void
fault(const char *what, const char *detail, long number)
{
    if (fault_count++ < FAULTS_SHOWN)
        printf("FAULT: %s %s %ld\n", what, detail, number);
}

static void
print_tally(const char *what)
{
    printf("%-32s %6ld attached, %6ld refused\n", what, attached_count, refused_count);
    (void)fflush(stdout);
    attached_count = 0;
    refused_count = 0;
}

/* --- a visit ---------------------------------------------------------------------------------- */

static void __attribute__((noreturn)) visit_and_exit(int fd, uint64_t flags)
{
    const struct rlimit time = { time_s, time_s + 1 };
    const struct rlimit no_core = { 0, 0 };

    if (setrlimit(RLIMIT_CPU, &time) != 0 || setrlimit(RLIMIT_CORE, &no_core) != 0)
        _exit(99);
    (void)alarm(WAIT_S);
    _exit(visit(fd, flags) ? ATTACHED : REFUSED);
}

static pid_t
send_visitor(int fd, uint64_t flags)
{
    pid_t pid = fork();

    if (pid == 0)
        visit_and_exit(fd, flags);
    if (pid < 0)
        exit(99);
    return pid;
}

/* Returns the exit status, or -1 and it is a fault. */
static int
judge(pid_t pid, const char *what, long number)
{
    int status;

    if (waitpid(pid, &status, 0) != pid)
        exit(99);
    if (WIFSIGNALED(status))
        fault(what, strsignal(WTERMSIG(status)), number);
    else if (WEXITSTATUS(status) == ATTACHED)
        attached_count++;
    else if (WEXITSTATUS(status) == REFUSED)
        refused_count++;
    else
        fault(what, "exit status", WEXITSTATUS(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int
try_file(int fd, uint64_t flags, const char *what, long number)
{
    int status = judge(send_visitor(fd, flags), what, number);

    (void)close(fd);
    return status;
}

/* A file with the case's state, of the length that its header calls for, as far as that is
 * moderate. */
static void
try_meta(const char *what, long number)
{
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    uint64_t len_bytes = image.geom.end_off;

    memcpy(&header, bytes, sizeof(header));
    if (hm_shared_geom_init(&geom, &header) && geom.end_off < (uint64_t)1 << 32)
        len_bytes = geom.end_off;
    (void)try_file(image_file(&image, bytes, len_bytes),
                   number % 4 == 3 ? HUMA_SHARED_READ_ONLY : 0, what, number);
}

static void
begin_case(void)
{
    memcpy(bytes, image.bytes, image.len_bytes);
}

/* --- the header ------------------------------------------------------------------------------- */

static void
sweep_bytes(bool is_sealed)
{
    static const unsigned char values[] = { 0, 1, 2, 12, 21, 0x7f, 0x80, 0xff };

    for (size_t off = 0; off < sizeof(image.header); off++)
        for (unsigned i = 0; i < sizeof(values); i++) {
            struct hm_shared_header header = image.header;

            ((unsigned char *)&header)[off] = values[i];
            if (is_sealed)
                hm_shared_header_seal(&header);
            begin_case();
            memcpy(bytes, &header, sizeof(header));
            try_meta("byte", (long)(off * 256 + values[i]));
        }
    print_tally(is_sealed ? "bytes, with a checksum" : "bytes");
}

/* What it says of itself is right, but not for us. */
static void
sweep_foreign(void)
{
    struct hm_shared_header header = image.header;

    header.magic = __builtin_bswap64(header.magic);
    hm_shared_header_seal(&header);
    begin_case();
    memcpy(bytes, &header, sizeof(header));
    try_meta("other byte order", 0);
    header = image.header;
    header.version++;
    hm_shared_header_seal(&header);
    memcpy(bytes, &header, sizeof(header));
    try_meta("other version", 0);
    if (attached_count != 0)
        fault("foreign", "was attached", attached_count);
    print_tally("other byte order, version");
}

static void
sweep_lengths(void)
{
    uint64_t lengths[] = { 0,
                           1,
                           7,
                           sizeof(image.header) - 1,
                           sizeof(image.header),
                           image.geom.data_off - 1,
                           image.geom.data_off,
                           image.geom.end_off - 1 };

    begin_case();
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        (void)try_file(image_file(&image, bytes, lengths[i]), 0, "length", (long)lengths[i]);
    for (uint64_t len_bytes = 4096; len_bytes < image.geom.end_off; len_bytes += 4096)
        if (len_bytes <= image.geom.blocks_off + 3 * 4096 || len_bytes % HM_SHARED_CHUNK_BYTES == 0)
            (void)try_file(image_file(&image, bytes, len_bytes), 0, "length", (long)len_bytes);
    if (attached_count != 0)
        fault("a file that is too short", "was attached", attached_count);
    if (try_file(image_file(&image, bytes, image.geom.end_off), 0, "length", 0) != ATTACHED)
        fault("the whole file", "was refused", 0);
    print_tally("lengths");
}

/* --- the state -------------------------------------------------------------------------------- */

/* One word, a few, or many. */
static void
sweep_words(long case_count, uint64_t seed)
{
    for (long i = 0; i < case_count; i++) {
        struct choice choice = choice_of_seed(seed + (uint64_t)i);
        size_t count = (size_t)1 << choice_below(&choice, 7);

        begin_case();
        for (size_t k = 0; k < count && k < WORDS_MAX; k++)
            (void)image_damage(&image, bytes, &choice);
        try_meta("words, seed", (long)seed + i);
    }
    print_tally("words at random");
}

/* All of a section, or of the state, is noise; all seats are taken; all spans are the same. */
static void
sweep_noise(long case_count, uint64_t seed)
{
    const uint64_t begins[] = { image.geom.seats_off, image.geom.roots_off,  image.geom.chunks_off,
                                image.geom.spans_off, image.geom.blocks_off, image.meta_bytes,
                                image.len_bytes };

    for (long i = 0; i < case_count; i++) {
        struct choice choice = choice_of_seed(seed + (uint64_t)i);
        uint64_t from_off = begins[choice_below(&choice, 6)];
        uint64_t to_off = begins[1 + choice_below(&choice, 6)];
        uint64_t same = choice_random(&choice);
        bool is_same = choice_one_in(&choice, 2);

        begin_case();
        for (uint64_t off = from_off; off + 8 <= to_off; off += 8) {
            if (!is_same)
                same = choice_random(&choice);
            memcpy(bytes + off, &same, sizeof(same));
        }
        try_meta("noise, seed", (long)seed + i);
    }
    print_tally("noise");
}

/* Files that are as long as they say, though nothing is in them; of one, all seats are taken by the
 * dead. */
static void
sweep_large(void)
{
    for (unsigned gib = 64; gib <= 512; gib *= 2) {
        bool is_full = gib == 64;
        struct hm_shared_header header;
        struct hm_shared_geom geom;
        uint32_t taken = HM_SEAT_TAKEN;
        int fd = memfd_create("large", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        hm_shared_header_init(&header, (uint64_t)gib << 30, HM_SHARED_SEATS_MAX, 64,
                              image.header.page_shift);
        hm_shared_header_seal(&header);
        if (fd < 0 || !hm_shared_geom_init(&geom, &header)
            || ftruncate(fd, (off_t)geom.end_off) != 0
            || pwrite(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header)
            || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
            exit(99);
        for (unsigned seat = 1; seat <= HM_SHARED_SEATS_MAX && is_full; seat++)
            if (pwrite(fd, &taken, sizeof(taken),
                       (off_t)(geom.seats_off + seat * sizeof(struct hm_shared_seat)))
                != (ssize_t)sizeof(taken))
                exit(99);
        (void)try_file(fd, 0, is_full ? "large, of the dead, GiB" : "large, GiB", gib);
    }
    print_tally("large");
}

/* --- somebody writes meanwhile ---------------------------------------------------------------- */

static void __attribute__((noreturn)) scribble(int fd, uint64_t seed)
{
    struct choice choice = choice_of_seed(seed);
    unsigned char *base = mmap(NULL, image.geom.end_off, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        _exit(99);
    (void)alarm(WAIT_S);
    for (;;) {
        size_t off = image_damage(&image, bytes, &choice);

        /* Who has read the header does not look at it again. */
        if (off >= image.geom.seats_off)
            memcpy(base + image_file_off(&image, off), bytes + off, sizeof(uint64_t));
    }
}

static void
sweep_scribblers(uint64_t seed)
{
    for (long i = 0; i < SCRIBBLERS; i++) {
        int fd;
        pid_t scribbler;

        begin_case();
        fd = image_file(&image, bytes, image.geom.end_off);
        scribbler = fork();
        if (scribbler == 0)
            scribble(fd, seed + (uint64_t)i);
        for (unsigned k = 0; k < 4; k++)
            (void)judge(send_visitor(fd, 0), "scribbler", i);
        if (scribbler < 0 || kill(scribbler, SIGKILL) != 0 || waitpid(scribbler, NULL, 0) < 0)
            exit(99);
        (void)close(fd);
    }
    print_tally("while somebody writes");
}

/* --- other descriptors ------------------------------------------------------------------------ */

static int
unsealed(void)
{
    int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)image.geom.end_off) != 0
        || pwrite(fd, image.bytes, image.meta_bytes, 0) != (ssize_t)image.meta_bytes)
        exit(99);
    return fd;
}

static void
sweep_descriptors(void)
{
    int pipes[2];
    int sockets[2];
    int whole = image_file(&image, image.bytes, image.geom.end_off);
    char path[64];

    if (pipe(pipes) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
        exit(99);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", whole);
    (void)try_file(unsealed(), 0, "not sealed", 0);
    (void)try_file(open("/dev/null", O_RDWR | O_CLOEXEC), 0, "/dev/null", 0);
    (void)try_file(open("/dev/zero", O_RDWR | O_CLOEXEC), 0, "/dev/zero", 0);
    (void)try_file(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0, "a directory", 0);
    (void)try_file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), 0, "a program", 0);
    (void)try_file(open(path, O_PATH | O_CLOEXEC), 0, "O_PATH", 0);
    (void)try_file(open(path, O_WRONLY | O_CLOEXEC), 0, "only to be written", 0);
    (void)try_file(pipes[0], 0, "a pipe", 0);
    (void)try_file(pipes[1], 0, "a pipe", 1);
    (void)try_file(sockets[0], 0, "a socket", 0);
    (void)try_file(sockets[1], HUMA_SHARED_READ_ONLY, "a socket", 1);
    (void)try_file(-1, 0, "no descriptor", 0);
    (void)try_file(1 << 20, 0, "no descriptor", 1);
    (void)try_file(dup(whole), UINT64_MAX, "flags", -1);
    (void)try_file(open(path, O_RDONLY | O_CLOEXEC), 0, "only to be read", 0);
    if (attached_count != 0)
        fault("a descriptor that is none of an arena", "was attached", attached_count);
    if (try_file(open(path, O_RDONLY | O_CLOEXEC), HUMA_SHARED_READ_ONLY, "to be read", 0)
        != ATTACHED)
        fault("only to be read, for reading", "was refused", 0);
    (void)close(whole);
    print_tally("other descriptors");
}

/* --- messages --------------------------------------------------------------------------------- */

static int
count_fds(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void __attribute__((noreturn)) receive_and_exit(int socket)
{
    static const char prefix[] = "huma_shared_receive(): ";
    int before = count_fds();

    (void)alarm(WAIT_S);
    if (huma_shared_receive(socket, 0) != NULL)
        _exit(ATTACHED);
    if (errno == 0 || strncmp(huma_last_error(), prefix, sizeof(prefix) - 1) != 0)
        abort();
    _exit(count_fds() == before ? REFUSED : 1);
}

/* Any text, with any number of descriptors of a file that is no arena. */
static void
send_message(int socket, const char *text, size_t len_bytes, unsigned fd_count)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
    struct iovec part = { (void *)(uintptr_t)text, len_bytes };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    struct cmsghdr *head = (struct cmsghdr *)(void *)control;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    for (unsigned i = 0; i < fd_count; i++)
        memcpy(CMSG_DATA(head) + i * sizeof(int), &fd, sizeof(int));
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
    message.msg_control = fd_count > 0 ? control : NULL;
    message.msg_controllen = fd_count > 0 ? CMSG_SPACE(fd_count * sizeof(int)) : 0;
    if (fd < 0 || sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        exit(99);
    (void)close(fd);
}

static void
sweep_messages(void)
{
    static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
    static const char text[300] = "huma fd\0and more than that";
    static const size_t lengths[] = { 0, 1, 7, 8, 9, sizeof(text) };

    for (unsigned i = 0; i < 3 * 6 * 17; i++) {
        unsigned fd_count = i / 18;
        size_t len_bytes = lengths[i / 3 % 6];
        int sockets[2];
        pid_t pid;

        if (socketpair(AF_UNIX, types[i % 3] | SOCK_CLOEXEC, 0, sockets) != 0)
            exit(99);
        /* Nothing at all, and then the end, is one case of the first kind. */
        if (types[i % 3] != SOCK_STREAM || len_bytes > 0)
            send_message(sockets[0], text, len_bytes, fd_count);
        (void)shutdown(sockets[0], SHUT_WR);
        pid = fork();
        if (pid == 0)
            receive_and_exit(sockets[1]);
        (void)judge(pid, "message", (long)i);
        (void)close(sockets[0]);
        (void)close(sockets[1]);
    }
    if (attached_count != 0)
        fault("a message without an arena", "was attached", attached_count);
    print_tally("messages");
}

/* Of another user: only root can make such a file here. */
static void
sweep_owners(void)
{
    int fd;

    if (geteuid() != 0)
        return;
    fd = image_file(&image, image.bytes, image.geom.end_off);
    if (fchown(fd, 12345, 12345) != 0)
        exit(99);
    if (try_file(dup(fd), 0, "another user's", 0) != REFUSED)
        fault("another user's", "was attached", 0);
    if (try_file(fd, HUMA_SHARED_ANY_OWNER, "another user's", 1) != ATTACHED)
        fault("any user's", "was refused", 0);
    print_tally("of another user");
}

int
main(int argc, char **argv)
{
    long case_count = argc > 1 ? strtol(argv[1], NULL, 10) : 400;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

    if (argc > 3)
        time_s = strtoull(argv[3], NULL, 10);
    image_init(&image);
    bytes = malloc(image.len_bytes);
    if (bytes == NULL)
        return 99;
    sweep_bytes(false);
    sweep_bytes(true);
    sweep_foreign();
    sweep_lengths();
    sweep_words(case_count, seed);
    sweep_noise(case_count / 4, seed);
    sweep_large();
    sweep_scribblers(seed);
    sweep_descriptors();
    sweep_messages();
    sweep_owners();
    printf("%ld faults\n", fault_count);
    return fault_count > 0;
}
