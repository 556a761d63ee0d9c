/* SPDX-License-Identifier: MIT */
/* os_shared_pass.c - descriptors go from process to process over a UNIX socket (see os_shared.h).
 *
 * Idea        A message of a few bytes that tell what it is, and the descriptor with it
 *             (SCM_RIGHTS). Whatever else came is closed.
 * Sources     unix(7), cmsg(3).
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/os_shared.h"

static const char greeting[8] = "huma fd";

/* For more descriptors than one: those are closed. */
#define FDS_MAX 8

union control {
    char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

int
hm_os_shared_send(int socket, int fd)
{
    union control control = { .bytes = { 0 } };
    struct iovec text = { (void *)(uintptr_t)greeting, sizeof(greeting) };
    struct msghdr message = { .msg_iov = &text,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = CMSG_SPACE(sizeof(int)) };
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    ssize_t sent_bytes;

    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(int));
    do
        sent_bytes = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent_bytes < 0 && errno == EINTR);
    return sent_bytes >= 0 ? 0 : -errno;
}

/* The first descriptor of a message, if it is one of ours; all others are closed. Returns it or
 * -1. */
static int
take_fd(struct msghdr *message, bool is_ours)
{
    int first = -1;

    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL;
         head = CMSG_NXTHDR(message, head)) {
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
            if (is_ours && first < 0)
                first = fd;
            else
                (void)close(fd);
        }
    }
    return first;
}

int
hm_os_shared_receive(int socket)
{
    char text[sizeof(greeting)] = { 0 };
    union control control;
    struct iovec into = { text, sizeof(text) };
    struct msghdr message = { .msg_iov = &into,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    ssize_t got_bytes;
    int fd;

    do
        got_bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got_bytes < 0 && errno == EINTR);
    if (got_bytes < 0)
        return -errno;
    fd = take_fd(&message, memcmp(text, greeting, sizeof(text)) == 0);
    if (fd >= 0)
        return fd;
    /* There was no room for it. */
    if ((message.msg_flags & MSG_CTRUNC) != 0 && memcmp(text, greeting, sizeof(text)) == 0)
        return -EMFILE;
    return got_bytes == 0 ? -ECONNRESET : -EBADMSG;
}
