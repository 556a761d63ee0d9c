# SPDX-License-Identifier: MIT
# huma_sanitize.m4 - builds with the compiler's sanitizers.

# HUMA_SANITIZE
# Adds --enable-sanitize=LIST, LIST of address, undefined, thread. Sets HUMA_SAN_CFLAGS, for
# compiling and linking, and the conditional SANITIZE. Such a build holds the tests that link
# the layers; it has no preload library, as a sanitizer brings its own malloc.
AC_DEFUN([HUMA_SANITIZE], [
  AC_ARG_ENABLE([sanitize],
    [AS_HELP_STRING([--enable-sanitize=LIST],
      [build the tests with sanitizers: address,undefined or thread,undefined])],
    [], [enable_sanitize=no])
  huma_sanitize=$enable_sanitize
  HUMA_SAN_CFLAGS=
  AS_IF([test "x$huma_sanitize" != xno], [
    huma_saved_ifs=$IFS; IFS=,
    for huma_item in $huma_sanitize; do
      AS_CASE([$huma_item], [address|undefined|thread], [],
        [AC_MSG_ERROR([--enable-sanitize=$huma_sanitize: expected a list of address, undefined, thread])])
    done
    IFS=$huma_saved_ifs
    AS_CASE([,$huma_sanitize,], [*,address,*thread,*|*,thread,*address,*],
      [AC_MSG_ERROR([--enable-sanitize: address and thread exclude each other])])
    HUMA_SAN_CFLAGS="-DHM_SANITIZE -fsanitize=$huma_sanitize -fno-sanitize-recover=all -fno-omit-frame-pointer"
    AC_MSG_CHECKING([whether $CC links with -fsanitize=$huma_sanitize])
    huma_saved_cflags=$CFLAGS
    CFLAGS="$CFLAGS $HUMA_SAN_CFLAGS"
    AC_LINK_IFELSE([AC_LANG_SOURCE([[int main(void) { return 0; }]])], [AC_MSG_RESULT([yes])], [
      AC_MSG_RESULT([no])
      AC_MSG_ERROR([$CC has no run-time library for -fsanitize=$huma_sanitize; install it or leave --enable-sanitize out])])
    CFLAGS=$huma_saved_cflags
  ])
  AC_SUBST([HUMA_SAN_CFLAGS])
  AM_CONDITIONAL([SANITIZE], [test "x$huma_sanitize" != xno])
])
