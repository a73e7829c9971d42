/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-uri.h"

#include <gio/gunixsocketaddress.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define DEFAULT_PORT 10809
#define CONNECT_TIMEOUT_S 10
/* Longest string that the NBD protocol allows. */
#define EXPORT_NAME_MAX 4096

void
bk_nbd_uri_free (BkNbdUri *uri)
{
  g_free (uri->host);
  g_free (uri->path);
  g_free (uri->export_name);
  g_free (uri);
}

static gboolean
refuse (const char *text, const char *why, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "'%s' is no NBD URI: %s; use nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH", text, why);
  return FALSE;
}

static gboolean
read_inet (GUri *uri, const char *text, BkNbdUri *result, GError **error)
{
  const char *host = g_uri_get_host (uri);
  if (host == NULL || *host == '\0')
    return refuse (text, "it names no host", error);
  if (g_uri_get_query (uri))
    return refuse (text, "it has parameters", error);
  if (g_uri_get_port (uri) == 0)
    return refuse (text, "there is no port 0", error);
  result->host = g_strdup (host);
  result->port = g_uri_get_port (uri) > 0 ? (unsigned)g_uri_get_port (uri) : DEFAULT_PORT;
  return TRUE;
}

static gboolean
read_unix (GUri *uri, const char *text, BkNbdUri *result, GError **error)
{
  const char *host = g_uri_get_host (uri);
  const char *query = g_uri_get_query (uri);
  g_autoptr (GHashTable) parameters = query ? g_uri_parse_params (query, -1, "&", G_URI_PARAMS_NONE, NULL) : NULL;
  const char *path = parameters ? g_hash_table_lookup (parameters, "socket") : NULL;
  if (host && *host)
    return refuse (text, "a unix socket has no host", error);
  if (path == NULL || *path != '/')
    return refuse (text, "socket=PATH with an absolute path is missing", error);
  if (g_hash_table_size (parameters) > 1)
    return refuse (text, "it has parameters besides 'socket'", error);
  result->path = g_strdup (path);
  return TRUE;
}

static gboolean
read_address (GUri *uri, const char *text, BkNbdUri *result, GError **error)
{
  const char *scheme = g_uri_get_scheme (uri);
  if (g_str_equal (scheme, "nbd"))
    return read_inet (uri, text, result, error);
  if (g_str_equal (scheme, "nbd+unix"))
    return read_unix (uri, text, result, error);
  return refuse (text, "its scheme is neither nbd nor nbd+unix", error);
}

BkNbdUri *
bk_nbd_uri_parse (const char *text, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (BkNbdUri) result = g_new0 (BkNbdUri, 1);
  /* The query stays encoded until it is taken apart, so that a socket's path may hold an ampersand. */
  g_autoptr (GUri) uri = g_uri_parse (text, G_URI_FLAGS_ENCODED_QUERY, &reason);
  gboolean ok = FALSE;
  if (uri == NULL)
    ok = refuse (text, reason->message, error);
  else if (g_uri_get_userinfo (uri))
    ok = refuse (text, "a user cannot be given", error);
  else if (g_uri_get_fragment (uri))
    ok = refuse (text, "it has a fragment ('#' is written %23)", error);
  else if (strlen (g_uri_get_path (uri)) > EXPORT_NAME_MAX)
    ok = refuse (text, "the name of the export is too long", error);
  else
    ok = read_address (uri, text, result, error);
  if (!ok)
    return NULL;
  const char *path = g_uri_get_path (uri);
  result->export_name = g_strdup (*path == '/' ? path + 1 : path);
  return g_steal_pointer (&result);
}

/* A unix socket stays unwritable after shutdown(2) as long as its buffer is full, and QEMU waits for just that. A
 * larger buffer makes it writable, and wakes the writer. Without CAP_NET_ADMIN the limit is twice
 * net.core.wmem_max, a multiple of what is small enough to start with. */
#define SMALL_BUFFER (48 * 1024)
#define LARGE_BUFFER (64 * 1024 * 1024)

static bool
set_send_buffer (GSocketConnection *connection, int option, int size)
{
  int fd = g_socket_get_fd (g_socket_connection_get_socket (connection));
  return setsockopt (fd, SOL_SOCKET, option, &size, sizeof size) == 0;
}

static void
make_cuttable (GSocketConnection *connection)
{
  int size = 0;
  socklen_t length = sizeof size;
  GSocket *socket = g_socket_connection_get_socket (connection);
  if (g_socket_get_family (socket) != G_SOCKET_FAMILY_UNIX ||
      getsockopt (g_socket_get_fd (socket), SOL_SOCKET, SO_SNDBUF, &size, &length) != 0)
    return;
  /* The kernel doubles what it is given. */
  if (!set_send_buffer (connection, SO_SNDBUFFORCE, size / 2))
    set_send_buffer (connection, SO_SNDBUF, SMALL_BUFFER);
}

void
bk_nbd_cut (GSocketConnection *connection)
{
  g_socket_shutdown (g_socket_connection_get_socket (connection), TRUE, TRUE, NULL);
  if (!set_send_buffer (connection, SO_SNDBUFFORCE, LARGE_BUFFER))
    set_send_buffer (connection, SO_SNDBUF, LARGE_BUFFER);
}

GSocketConnection *
bk_nbd_uri_connect (const BkNbdUri *uri, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GSocketClient) client = g_socket_client_new ();
  g_autoptr (GSocketConnectable) address =
      uri->path ? G_SOCKET_CONNECTABLE (g_unix_socket_address_new (uri->path)) : g_network_address_new (uri->host, (guint16)uri->port);
  g_socket_client_set_timeout (client, CONNECT_TIMEOUT_S);
  g_socket_client_set_enable_proxy (client, FALSE);
  GSocketConnection *connection = g_socket_client_connect (client, address, cancellable, &failure);
  if (connection) {
    make_cuttable (connection);
    return connection;
  }
  BkErrorCode code = g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED) ? BK_ERROR_CANCELLED : BK_ERROR_UNREACHABLE;
  g_set_error (error, BK_ERROR, code, "cannot connect to the NBD server at '%s': %s", uri->path ? uri->path : uri->host, failure->message);
  return NULL;
}
