/* SPDX-License-Identifier: MIT */
/* small_exit.c - the memory of a program at the moment when it exits.
 *
 * Usage   small_exit PROGRAM ARG...
 * Prints  its smaps. What the program itself prints goes to /dev/null.
 *
 * A tracer is told when a process is about to exit and has its memory still. Exit status: 77 if
 * processes cannot be traced here; else the program's.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void
print_smaps(pid_t pid)
{
    char path[64];
    char buf[4096];
    size_t len_bytes;
    FILE *in;

    (void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
    in = fopen(path, "r");
    if (in == NULL) {
        perror(path);
        exit(99);
    }
    while ((len_bytes = fread(buf, 1, sizeof(buf), in)) > 0)
        (void)fwrite(buf, 1, len_bytes, stdout);
    (void)fclose(in);
    (void)fflush(stdout);
}

static int
run(char **argv)
{
    int null_fd = open("/dev/null", O_WRONLY);

    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0)
        return 77;
    (void)dup2(null_fd, 1);
    (void)execvp(argv[0], argv);
    perror(argv[0]);
    return 99;
}

int
main(int argc, char **argv)
{
    pid_t pid = argc > 1 ? fork() : -1;
    int status = 0;

    if (pid == 0)
        _exit(run(argv + 1));
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 99;
    if (!WIFSTOPPED(status)
        || ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(long)PTRACE_O_TRACEEXIT) != 0)
        return 77;
    while (WIFSTOPPED(status)) {
        int sig = WSTOPSIG(status);

        if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXIT << 8)))
            print_smaps(pid);
        if (sig == SIGTRAP || sig == SIGSTOP)
            sig = 0;
        if (ptrace(PTRACE_CONT, pid, NULL, (void *)(long)sig) != 0
            || waitpid(pid, &status, 0) != pid)
            return 99;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}
