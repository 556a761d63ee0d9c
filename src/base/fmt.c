/* SPDX-License-Identifier: MIT */
/* fmt.c - the formatter of fmt.h.
 *
 * Problem     See fmt.h: no stdio, no allocation, safe in a signal handler and after heap damage.
 * Idea        Everything goes through put(), which drains the buffer when it is full.
 * Invariants  len_bytes < cap_bytes, and buf[len_bytes] is NUL after every call.
 */
#include "base/fmt.h"

#include <errno.h>
#include <unistd.h>

#include "base/cancel.h"

struct hm_fmt
hm_fmt_init(char *buf, size_t cap_bytes, int fd)
{
    buf[0] = '\0';
    return (struct hm_fmt){ .buf = buf, .cap_bytes = cap_bytes, .len_bytes = 0, .fd = fd };
}

static void
put(struct hm_fmt *out, char c)
{
    if (out->len_bytes + 1 >= out->cap_bytes) {
        if (out->fd < 0)
            return;
        hm_fmt_flush(out);
    }
    out->buf[out->len_bytes++] = c;
    out->buf[out->len_bytes] = '\0';
}

void
hm_fmt_str(struct hm_fmt *out, const char *str)
{
    for (; *str != '\0'; str++)
        put(out, *str);
}

void
hm_fmt_u64_wide(struct hm_fmt *out, uint64_t value, unsigned width)
{
    char digits[20];
    unsigned count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (unsigned i = count; i < width; i++)
        put(out, ' ');
    while (count > 0)
        put(out, digits[--count]);
}

void
hm_fmt_u64(struct hm_fmt *out, uint64_t value)
{
    hm_fmt_u64_wide(out, value, 0);
}

void
hm_fmt_hex(struct hm_fmt *out, uint64_t value)
{
    int shift = 60;

    while (shift > 0 && (value >> shift) == 0)
        shift -= 4;
    hm_fmt_str(out, "0x");
    for (; shift >= 0; shift -= 4)
        put(out, "0123456789abcdef"[(value >> shift) & 15]);
}

void
hm_fmt_percent(struct hm_fmt *out, uint64_t part, uint64_t whole)
{
    uint64_t permille = whole == 0 ? 0 : (part * 1000 + whole / 2) / whole;

    hm_fmt_u64(out, permille / 10);
    put(out, '.');
    hm_fmt_u64(out, permille % 10);
}

void
hm_fmt_json_str(struct hm_fmt *out, const char *str)
{
    put(out, '"');
    for (; *str != '\0'; str++) {
        unsigned char c = (unsigned char)*str;

        if (c == '"' || c == '\\')
            put(out, '\\');
        if (c >= 0x20) {
            put(out, (char)c);
            continue;
        }
        hm_fmt_str(out, "\\u00");
        put(out, "0123456789abcdef"[c >> 4]);
        put(out, "0123456789abcdef"[c & 15]);
    }
    put(out, '"');
}

void
hm_fmt_flush(struct hm_fmt *out)
{
    size_t done_bytes = 0;
    int cancel_state;

    if (out->fd < 0)
        return;
    cancel_state = hm_cancel_disable();
    while (!out->is_lost && done_bytes < out->len_bytes) {
        ssize_t n = write(out->fd, out->buf + done_bytes, out->len_bytes - done_bytes);

        if (n >= 0)
            done_bytes += (size_t)n;
        else if (errno != EINTR)
            out->is_lost = true;
    }
    hm_cancel_restore(cancel_state);
    out->len_bytes = 0;
}
