# SPDX-License-Identifier: MIT
# huma_with.m4 - optional libraries: auto takes what is there, yes insists, no does without.

# HUMA_WITH(NAME, PKG-CONFIG-MODULE, DEBIAN-PACKAGE, PURPOSE)
# Adds --with-NAME=auto|yes|no. Sets NAME_CFLAGS and NAME_LIBS (upper case), the conditional
# HAVE_NAME, and huma_with_NAME (yes or no) for the summary.
AC_DEFUN([HUMA_WITH], [
  m4_pushdef([NAME], m4_toupper([$1]))
  AC_ARG_WITH([$1],
    [AS_HELP_STRING([--with-$1=auto|yes|no], [$4; yes: stop if it is missing @<:@auto@:>@])],
    [], [with_$1=auto])
  AS_CASE([$with_$1], [auto|yes|no], [],
    [AC_MSG_ERROR([--with-$1=$with_$1: expected auto, yes or no])])
  huma_with_$1=no
  AS_IF([test "x$with_$1" != xno], [
    PKG_CHECK_MODULES(NAME, [$2], [huma_with_$1=yes], [
      AS_IF([test "x$with_$1" = xyes], [AC_MSG_ERROR(
        [--with-$1=yes, but pkg-config finds no $2; on Debian: apt-get install $3])])
    ])
  ])
  AM_CONDITIONAL([HAVE_]NAME, [test "x$huma_with_$1" = xyes])
  m4_popdef([NAME])
])
