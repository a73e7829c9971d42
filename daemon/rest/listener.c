/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listener.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128 /* connections that wait while the main loop is at something else */
#define PATH_LIMIT (sizeof (((struct sockaddr_un *)NULL)->sun_path) - 1)

struct BkListener {
  GSocket *socket;
  char *address;
  char *path; /* of a unix socket, or NULL */
  dev_t device;
  ino_t inode;
};

void
bk_listener_free (BkListener *listener)
{
  struct stat st;
  if (listener->path && lstat (listener->path, &st) == 0 && st.st_dev == listener->device && st.st_ino == listener->inode)
    unlink (listener->path);
  g_clear_object (&listener->socket);
  g_free (listener->address);
  g_free (listener->path);
  g_free (listener);
}

GSocket *
bk_listener_socket (BkListener *listener)
{
  return listener->socket;
}

const char *
bk_listener_address (BkListener *listener)
{
  return listener->address;
}

static gboolean
invalid (GError **error, const char *address, const char *text)
{
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "cannot listen on '%s': %s", address, text);
  return FALSE;
}

/* Translates GIO's errors. */
static gboolean
fail (GError **error, const char *address, const GError *cause)
{
  BkErrorCode code = BK_ERROR_FAILED;
  if (g_error_matches (cause, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE))
    code = BK_ERROR_CONFLICT;
  else if (g_error_matches (cause, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED))
    code = BK_ERROR_DENIED;
  g_set_error (error, BK_ERROR, code, "cannot listen on '%s': %s", address, cause->message);
  return FALSE;
}

static gboolean
bind_and_listen (BkListener *listener, GSocketAddress *address, GError **error)
{
  g_autoptr (GError) local = NULL;
  listener->socket = g_socket_new (g_socket_address_get_family (address), G_SOCKET_TYPE_STREAM,
                                   G_SOCKET_PROTOCOL_DEFAULT, &local);
  if (listener->socket == NULL)
    return fail (error, listener->address, local);
  g_socket_set_listen_backlog (listener->socket, BACKLOG);
  if (g_socket_bind (listener->socket, address, TRUE, &local) && g_socket_listen (listener->socket, &local))
    return TRUE;
  return fail (error, listener->address, local);
}

/* A socket file that nobody listens on is what a killed daemon leaves behind. */
static gboolean
clear_stale_socket (const char *path, GError **error)
{
  struct stat st;
  if (lstat (path, &st) != 0)
    return errno == ENOENT ? TRUE : bk_error_set_errno (error, errno, "cannot listen on '%s'", path);
  if (!S_ISSOCK (st.st_mode)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "cannot listen on '%s': it exists and is not a socket", path);
    return FALSE;
  }
  g_autoptr (GError) local = NULL;
  g_autoptr (GSocket) probe = g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, &local);
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (path);
  if (probe == NULL)
    return fail (error, path, local);
  /* Without blocking: a program whose queue of connections is full is alive, too. */
  g_socket_set_blocking (probe, FALSE);
  if (!g_socket_connect (probe, address, NULL, &local) && g_error_matches (local, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED))
    return unlink (path) == 0 || bk_error_set_errno (error, errno, "cannot remove the stale socket '%s'", path);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "cannot listen on '%s': another program does already", path);
  return FALSE;
}

/* /run/backupd may be seen by everybody; what guards the socket is its own mode. */
static gboolean
make_parent (const char *path, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (path);
  mode_t before = umask (022);
  int result = g_mkdir_with_parents (parent, 0755);
  int errsv = errno;
  umask (before);
  return result == 0 || bk_error_set_errno (error, errsv, "cannot make the folder '%s'", parent);
}

static gboolean
listen_unix (BkListener *listener, const char *path, GError **error)
{
  if (!g_path_is_absolute (path))
    return invalid (error, listener->address, "write unix: and an absolute path");
  if (strlen (path) > PATH_LIMIT)
    return invalid (error, listener->address, "the path of a unix socket has 107 bytes at most");
  if (!make_parent (path, error) || !clear_stale_socket (path, error))
    return FALSE;
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (path);
  mode_t before = umask (0177);
  gboolean bound = bind_and_listen (listener, address, error);
  umask (before);
  struct stat st;
  if (!bound)
    return FALSE;
  if (lstat (path, &st) != 0)
    return bk_error_set_errno (error, errno, "cannot listen on '%s'", path);
  listener->path = g_strdup (path);
  listener->device = st.st_dev;
  listener->inode = st.st_ino;
  return TRUE;
}

/* Numbers only, and the one name that is loopback everywhere: no name service decides who may reach us. */
static GInetAddress *
loopback_address (const char *host)
{
  g_autoptr (GInetAddress) address = NULL;
  if (g_ascii_strcasecmp (host, "localhost") == 0)
    return g_inet_address_new_loopback (G_SOCKET_FAMILY_IPV4);
  address = g_inet_address_new_from_string (host);
  return address && g_inet_address_get_is_loopback (address) ? g_steal_pointer (&address) : NULL;
}

static gboolean
split_host_port (const char *text, char **host, guint64 *port)
{
  const char *colon = strrchr (text, ':');
  if (colon == NULL || !g_ascii_string_to_unsigned (colon + 1, 10, 0, 65535, port, NULL))
    return FALSE;
  bool bracketed = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
  *host = bracketed ? g_strndup (text + 1, (gsize)(colon - text - 2)) : g_strndup (text, (gsize)(colon - text));
  return bracketed || strchr (*host, ':') == NULL;
}

static gboolean
listen_tcp (BkListener *listener, const char *text, GError **error)
{
  g_autofree char *host = NULL;
  guint64 port = 0;
  if (!split_host_port (text, &host, &port))
    return invalid (error, listener->address, "write tcp:HOST:PORT, for example tcp:127.0.0.1:8080 or tcp:[::1]:8080");
  g_autoptr (GInetAddress) inet = loopback_address (host);
  if (inet == NULL)
    return invalid (error, listener->address, "only loopback addresses are served: 127.0.0.1, [::1] or localhost");
  g_autoptr (GSocketAddress) address = g_inet_socket_address_new (inet, (guint16)port);
  if (!bind_and_listen (listener, address, error))
    return FALSE;
  g_autoptr (GSocketAddress) real = g_socket_get_local_address (listener->socket, NULL);
  if (real == NULL)
    return TRUE;
  g_autofree char *shown = g_socket_connectable_to_string (G_SOCKET_CONNECTABLE (real));
  g_free (listener->address);
  listener->address = g_strdup_printf ("tcp:%s", shown);
  return TRUE;
}

BkListener *
bk_listener_new (const char *address, GError **error)
{
  g_autoptr (BkListener) listener = g_new0 (BkListener, 1);
  gboolean ok = FALSE;
  listener->address = g_strdup (address);
  if (g_str_has_prefix (address, "unix:"))
    ok = listen_unix (listener, address + strlen ("unix:"), error);
  else if (g_str_has_prefix (address, "tcp:"))
    ok = listen_tcp (listener, address + strlen ("tcp:"), error);
  else
    ok = invalid (error, address, "write unix:PATH or tcp:HOST:PORT");
  return ok ? g_steal_pointer (&listener) : NULL;
}
