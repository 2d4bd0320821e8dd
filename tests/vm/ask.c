/* SPDX-License-Identifier: BSD-3-Clause */
/* ask SOCKET LINE...: send each line to a Unix socket, print one line of answer to each.  Guests have no other such tool. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int talk(FILE *peer, const char *line)
{
    char answer[65536];

    if (fprintf(peer, "%s\n", line) < 0 || fflush(peer))
        return -1;
    if (!fgets(answer, sizeof(answer), peer))
        return -1;
    return fputs(answer, stdout);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FILE *peer;

    if (argc < 3 || strlen(argv[1]) >= sizeof(address.sun_path)) {
        (void)fprintf(stderr, "usage: ask SOCKET LINE...\n");
        return 2;
    }
    memcpy(address.sun_path, argv[1], strlen(argv[1]));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        perror(argv[1]);
        return 1;
    }
    peer = fdopen(fd, "r+");
    if (!peer) {
        perror(argv[1]);
        return 1;
    }
    for (int i = 2; i < argc; i++)
        if (talk(peer, argv[i]) < 0) {
            (void)fprintf(stderr, "%s: no answer to \"%s\"\n", argv[1], argv[i]);
            return 1;
        }
    return fclose(peer) ? 1 : 0;
}
