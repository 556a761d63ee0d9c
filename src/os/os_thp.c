/* SPDX-License-Identifier: MIT */
/* os_thp.c - whether transparent huge pages may be asked for, and of which sizes.
 *
 * Problem     Huge pages are a request, and three parties can refuse: the kernel's build, the
 *             administrator (sysfs) and whoever started the process (prctl). Since Linux 6.8 the
 *             administrator has a word on each size as well, which may be to go by the general one.
 * Idea        Ask all three, so that a refusal has a name.
 * Sources     Linux Documentation/admin-guide/mm/transhuge.rst; prctl(2).
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/fmt.h"
#include "os/os.h"

/* The smallest that the kernel has: four base pages. */
#define MTHP_MIN_ORDER 2

/* Read the file `enabled` of one size, or with 0 the general one. Returns as hm_os_read_file(). */
static long
read_enabled(const char *root, size_t size_bytes, char *buf, size_t cap_bytes)
{
    char path[192];
    struct hm_fmt out = hm_fmt_init(path, sizeof(path), -1);

    hm_fmt_str(&out, root);
    hm_fmt_str(&out, "/sys/kernel/mm/transparent_hugepage/");
    if (size_bytes != 0) {
        hm_fmt_str(&out, "hugepages-");
        hm_fmt_u64(&out, size_bytes / HM_KIB);
        hm_fmt_str(&out, "kB/");
    }
    hm_fmt_str(&out, "enabled");
    return hm_os_read_file(path, buf, cap_bytes);
}

/* What a file says, whose mode is the word in brackets. */
static enum hm_thp_mode
mode_of(const char *text, enum hm_thp_mode general)
{
    if (strstr(text, "[inherit]") != NULL)
        return general;
    if (strstr(text, "[never]") != NULL)
        return HM_THP_NEVER;
    return strstr(text, "[always]") != NULL ? HM_THP_ALWAYS : HM_THP_MADVISE;
}

/* The mode of one size. Kernels before 6.8 have no files for sizes: the general mode is then that
 * of the PMD size, and there is no other. */
static enum hm_thp_mode
mode_under(const char *root, size_t size_bytes, enum hm_thp_mode general, enum hm_thp_mode without)
{
    char text[64];

    if (read_enabled(root, size_bytes, text, sizeof(text)) < 0)
        return without;
    return mode_of(text, general);
}

enum hm_thp_mode
hm_os_thp_mode_under(const char *root, const struct hm_geom *geom)
{
    enum hm_thp_mode general = mode_under(root, 0, HM_THP_NEVER, HM_THP_ABSENT);

    if (general == HM_THP_ABSENT || geom->hpage_shift == 0)
        return general;
    return mode_under(root, (size_t)1 << geom->hpage_shift, general, general);
}

bool
hm_os_has_mthp_under(const char *root, const struct hm_geom *geom)
{
    enum hm_thp_mode general = mode_under(root, 0, HM_THP_NEVER, HM_THP_NEVER);

    for (unsigned shift = geom->page_shift + MTHP_MIN_ORDER; shift < geom->hpage_shift; shift++)
        if (mode_under(root, (size_t)1 << shift, general, HM_THP_NEVER) != HM_THP_NEVER)
            return true;
    return false;
}

enum hm_thp_mode
hm_os_thp_mode(void *ctx)
{
    struct hm_machine machine;
    enum hm_thp_mode mode;
    char text[8];

    (void)ctx;
    hm_os_probe(&machine);
    mode = hm_os_thp_mode_under("", &machine.geom);
    /* The kernel has none; or there is no sysfs here, or no descriptor free. */
    if (mode == HM_THP_ABSENT && hm_os_read_file("/sys/kernel/mm", text, sizeof(text)) != -EISDIR)
        return HM_THP_UNKNOWN;
    /* 1: off altogether. 3: off except where advised (Linux 6.18), and we always advise. */
    if ((mode == HM_THP_MADVISE || mode == HM_THP_ALWAYS)
        && prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1)
        return HM_THP_PRCTL_OFF;
    return mode;
}

bool
hm_os_has_mthp(void *ctx)
{
    struct hm_machine machine;

    (void)ctx;
    hm_os_probe(&machine);
    return hm_os_has_mthp_under("", &machine.geom) && prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) != 1;
}
