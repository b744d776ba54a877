/* Resolve each name with the C library's resolver. Prints one line for each: the name, and its addresses. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

static void resolve(const char *name) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char text[INET6_ADDRSTRLEN];
    int error = getaddrinfo(name, "443", &hints, &found);
    printf("%s", name);
    if (error)
        printf(" %s", error == EAI_NONAME ? "NXDOMAIN" : gai_strerror(error));
    for (struct addrinfo *each = found; !error && each; each = each->ai_next) {
        const void *address = each->ai_family == AF_INET6
                                  ? (const void *)&((struct sockaddr_in6 *)each->ai_addr)->sin6_addr
                                  : (const void *)&((struct sockaddr_in *)each->ai_addr)->sin_addr;
        printf(" %s", inet_ntop(each->ai_family, address, text, sizeof text));
    }
    printf("\n");
}

int main(int count, char **names) {
    for (int each = 1; each < count; each++)
        resolve(names[each]);
    return 0;
}
