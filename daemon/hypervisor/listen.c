/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

int
bk_listen_unix (const char *path, GError **error)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  if (strlen (path) >= sizeof address.sun_path) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the socket path '%s' is longer than %zu bytes; use a folder with a shorter path", path,
                 sizeof address.sun_path - 1);
    return -1;
  }
  strcpy (address.sun_path, path);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  g_unlink (path);
  if (fd >= 0 && bind (fd, (const struct sockaddr *)&address, sizeof address) == 0 && chmod (path, 0600) == 0 && listen (fd, BACKLOG) == 0)
    return fd;
  bk_error_set_errno (error, errno, "cannot listen on '%s'", path);
  if (fd >= 0)
    close (fd);
  return -1;
}

/* --- TCP --- */

static GSocketConnectable *
parse_tcp (const char *listen, GError **error)
{
  static const char prefix[] = "tcp:";
  g_autoptr (GError) failure = NULL;
  GSocketConnectable *parsed = g_str_has_prefix (listen, prefix) ? g_network_address_parse (listen + strlen (prefix), 0, &failure) : NULL;
  if (parsed == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is no address to listen on; write 'unix', or 'tcp:HOST:PORT'", listen);
  return parsed;
}

static GSocketAddress *
resolve (GSocketConnectable *connectable, const char *listen, GError **error)
{
  g_autoptr (GSocketAddressEnumerator) all = g_socket_connectable_enumerate (connectable);
  g_autoptr (GError) failure = NULL;
  GSocketAddress *first = g_socket_address_enumerator_next (all, NULL, &failure);
  if (first == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "cannot listen on '%s': %s", listen, failure ? failure->message : "no such address");
  return first;
}

static GSocket *
bind_to (GSocketAddress *address, const char *listen, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GSocket) socket = g_socket_new (g_socket_address_get_family (address), G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, &failure);
  if (socket && g_socket_bind (socket, address, TRUE, &failure) && g_socket_listen (socket, &failure))
    return g_steal_pointer (&socket);
  bool in_use = g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE);
  g_set_error (error, BK_ERROR, in_use ? BK_ERROR_CONFLICT : BK_ERROR_INVALID, "cannot listen on '%s': %s", listen, failure->message);
  return NULL;
}

static char *
with_port (GSocketConnectable *connectable, GSocket *socket)
{
  g_autoptr (GSocketAddress) local = g_socket_get_local_address (socket, NULL);
  const char *host = g_network_address_get_hostname (G_NETWORK_ADDRESS (connectable));
  bool brackets = strchr (host, ':') != NULL;
  return g_strdup_printf ("tcp:%s%s%s:%u", brackets ? "[" : "", host, brackets ? "]" : "",
                          local ? g_inet_socket_address_get_port (G_INET_SOCKET_ADDRESS (local)) : 0);
}

int
bk_listen_tcp (const char *listen, char **address, GError **error)
{
  g_autoptr (GSocketConnectable) connectable = parse_tcp (listen, error);
  g_autoptr (GSocketAddress) where = connectable ? resolve (connectable, listen, error) : NULL;
  g_autoptr (GSocket) socket = where ? bind_to (where, listen, error) : NULL;
  int fd = socket ? fcntl (g_socket_get_fd (socket), F_DUPFD_CLOEXEC, 3) : -1;
  if (fd >= 0)
    *address = with_port (connectable, socket);
  else if (socket)
    bk_error_set_errno (error, errno, "cannot listen on '%s'", listen);
  return fd;
}
