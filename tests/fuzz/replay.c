/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stands in for libFuzzer: feeds every file of the given folders to the fuzz target once.
 *
 *   fuzz_NAME FOLDER|FILE...
 *
 * Each input lies in a heap block of exactly its size, so that a sanitizer sees one byte too many.  Exit: 0 all were
 * fed, 1 nothing to feed or unreadable.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed_stream(const char *path, FILE *file, size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    size_t got;

    if (!data) {
        fprintf(stderr, "%s: no memory for %zu bytes\n", path, size);
        return 1;
    }
    got = fread(data, 1, size, file);
    if (got != size)
        fprintf(stderr, "%s: %zu of %zu bytes read\n", path, got, size);
    else
        (void)LLVMFuzzerTestOneInput(data, size); /* a finding ends the process */
    free(data);
    return got != size;
}

static int feed_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    int failed;

    if (!file || fstat(fileno(file), &st)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        if (file)
            (void)fclose(file);
        return 1;
    }
    failed = feed_stream(path, file, (size_t)st.st_size);
    (void)fclose(file); /* only read from */
    return failed;
}

static int feed_folder(const char *folder, unsigned *fed)
{
    struct dirent **names;
    int count = scandir(folder, &names, NULL, alphasort);
    int failed = 0;

    if (count < 0) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        return 1;
    }
    for (int i = 0; i < count; i++) {
        char path[4096];
        struct stat st;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        if (!stat(path, &st) && S_ISREG(st.st_mode)) {
            failed |= feed_file(path);
            (*fed)++;
        }
        free(names[i]);
    }
    free(names);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned fed = 0;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (!stat(argv[i], &st) && S_ISREG(st.st_mode)) {
            failed |= feed_file(argv[i]);
            fed++;
        } else {
            failed |= feed_folder(argv[i], &fed);
        }
    }
    if (!fed)
        fprintf(stderr, "%s: no input in the folders given\n", argv[0]);
    printf("%u inputs\n", fed);
    return fed && !failed ? 0 : 1;
}
