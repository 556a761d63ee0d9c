# SPDX-License-Identifier: MIT
# huma_warnings.m4 - compiler flags that are used only where the compiler knows them.

# HUMA_TRY_CFLAG(VARIABLE, FLAG, [ACTION-IF-UNKNOWN])
# Append FLAG to VARIABLE if the C compiler takes it without a word. The probe adds -Werror since
# clang only warns about options it does not know. The program has a prototype, because the one
# that old Autoconf writes itself has none and would trip -Wstrict-prototypes.
AC_DEFUN([HUMA_TRY_CFLAG], [
  AS_VAR_PUSHDEF([cache], [huma_cv_cflag_$2])
  AC_CACHE_CHECK([whether $CC takes $2], [cache], [
    huma_saved_cflags=$CFLAGS
    CFLAGS="$CFLAGS -Werror $2"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[int probe(void); int probe(void) { return 0; }]])],
      [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])
    CFLAGS=$huma_saved_cflags
  ])
  AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$1], [" $2"])], [$3])
  AS_VAR_POPDEF([cache])
])

# HUMA_WARNINGS
# HUMA_WARN_CFLAGS   warnings for all our C code
# HUMA_FRAME_CFLAGS  the limit on stack frames, for the library only: it runs on tiny stacks
# HUMA_WERROR        -Werror if --enable-werror was given; never seen by a probe
AC_DEFUN([HUMA_WARNINGS], [
  HUMA_WARN_CFLAGS=
  HUMA_FRAME_CFLAGS=
  m4_foreach_w([flag], [-Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wundef -Wvla
    -Wcast-qual -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wwrite-strings -Wnull-dereference -Wlogical-op -Wduplicated-cond],
    [HUMA_TRY_CFLAG([HUMA_WARN_CFLAGS], flag)])
  HUMA_TRY_CFLAG([HUMA_WARN_CFLAGS], [-Wcast-align=strict],
    [HUMA_TRY_CFLAG([HUMA_WARN_CFLAGS], [-Wcast-align])])
  HUMA_TRY_CFLAG([HUMA_WARN_CFLAGS], [-Wimplicit-fallthrough=5],
    [HUMA_TRY_CFLAG([HUMA_WARN_CFLAGS], [-Wimplicit-fallthrough])])
  # Sanitizers put their own red zones into the frames.
  AS_IF([test "x$huma_sanitize" = xno],
    [HUMA_TRY_CFLAG([HUMA_FRAME_CFLAGS], [-Wframe-larger-than=1024])])
  AC_ARG_ENABLE([werror],
    [AS_HELP_STRING([--enable-werror], [treat compiler warnings as errors])],
    [], [enable_werror=no])
  AS_IF([test "x$enable_werror" = xyes], [HUMA_WERROR=-Werror], [HUMA_WERROR=])
  AC_SUBST([HUMA_WARN_CFLAGS])
  AC_SUBST([HUMA_FRAME_CFLAGS])
  AC_SUBST([HUMA_WERROR])
])
