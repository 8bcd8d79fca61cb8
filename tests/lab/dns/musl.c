/* The addresses that getaddrinfo finds for a name, one a line. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

int main(int argc, char **argv) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  char text[INET6_ADDRSTRLEN];
  if (argc != 2 || getaddrinfo(argv[1], NULL, &hints, &found) != 0) return 1;
  for (; found; found = found->ai_next)
    if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0) puts(text);
  return 0;
}
