/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service-notify.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void
bk_service_notify (const char *state)
{
  const char *path = g_getenv ("NOTIFY_SOCKET");
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  if (path == NULL)
    return;
  size_t length = strlen (path);
  if ((path[0] != '/' && path[0] != '@') || length < 2 || length >= sizeof (address.sun_path)) {
    g_warning ("NOTIFY_SOCKET='%s' is not the address of a socket", path);
    return;
  }
  memcpy (address.sun_path, path, length);
  if (path[0] == '@')
    address.sun_path[0] = '\0'; /* Linux' abstract name space */
  socklen_t size = (socklen_t)(offsetof (struct sockaddr_un, sun_path) + length);
  int fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || sendto (fd, state, strlen (state), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
    g_warning ("cannot tell the service manager '%s': %s", state, g_strerror (errno));
  if (fd >= 0)
    close (fd);
}
