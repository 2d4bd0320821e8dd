/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

static char *trim(char *text)
{
    char *end;

    while (isspace((unsigned char)*text))
        text++;
    end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text;
}

/** "key", "key = value"; '#' and ';' begin a comment line. */
static int take_line(struct options *options, char *line, char *why)
{
    char *key = trim(line), *equals, *value = NULL;

    if (!*key || *key == '#' || *key == ';')
        return 0;
    equals = strchr(key, '=');
    if (equals) {
        *equals = '\0';
        value = trim(equals + 1);
        key = trim(key);
    }
    if (!strcmp(key, "config"))
        return hv_option_fail(why, "config: a file cannot name another");
    return options_set(options, key, value, true, why);
}

int options_file(struct options *options, const char *path, char *why)
{
    char inner[HV_OPTION_WHY_BYTES], *line = NULL;
    FILE *file = fopen(path, "re");
    unsigned number = 0;
    size_t room = 0;
    int ret = 0;

    if (!file)
        return hv_option_fail(why, "--config %s: %s", path, strerror(errno));
    while (!ret && getline(&line, &room, file) >= 0) {
        number++;
        ret = take_line(options, line, inner);
        if (ret)
            (void)hv_option_fail(why, "%s line %u: %.400s", path, number, inner);
    }
    if (!ret && ferror(file))
        ret = hv_option_fail(why, "--config %s: cannot be read", path);
    free(line);
    (void)fclose(file);
    return ret;
}
