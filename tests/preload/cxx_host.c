/* SPDX-License-Identifier: MIT */
/* cxx_host.c - loads a library for itself alone and prints what its run_plugin() returns. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
    void *plugin = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = plugin != NULL ? dlsym(plugin, "run_plugin") : NULL;
    int (*run)(void);

    if (symbol == NULL) {
        (void)fprintf(stderr, "%s\n", dlerror());
        return 99;
    }
    memcpy(&run, &symbol, sizeof(run));
    printf("%d\n", run());
    return 0;
}
