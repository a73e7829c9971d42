/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection.h"

#include <string.h>
#include <unistd.h>

#define PATIENCE 60 /* s for a request to arrive, and for its answer to be taken */
#define KEY "bk-connection"

struct BkConnection {
  GSocketConnection *stream; /* weak */
  GSocketAddress *peer;      /* how libsoup's messages lead back to us */
  BkConnectionEnd end;
  gpointer end_data;
  BkExchange *exchange; /* weak; from the complete request on */
  unsigned timer;
  bool is_unix;
};

/* libsoup lets go of the stream when all is done; there is no signal for that. */
static void
on_stream_gone (gpointer user_data, GObject *where G_GNUC_UNUSED)
{
  BkConnection *connection = user_data;
  connection->stream = NULL;
  if (connection->end)
    connection->end (connection, connection->end_data);
  if (connection->exchange)
    bk_exchange_set_hooks (connection->exchange, NULL, NULL);
  g_clear_handle_id (&connection->timer, g_source_remove);
  g_object_set_data (G_OBJECT (connection->peer), KEY, NULL);
  g_object_unref (connection->peer);
  g_free (connection);
}

static gboolean
on_timeout (gpointer user_data)
{
  BkConnection *connection = user_data;
  connection->timer = 0;
  g_debug ("a client took longer than %d s; its connection is closed", PATIENCE);
  bk_connection_cut (connection);
  return G_SOURCE_REMOVE;
}

static void
set_timer (BkConnection *connection)
{
  g_clear_handle_id (&connection->timer, g_source_remove);
  connection->timer = g_timeout_add_seconds (PATIENCE, on_timeout, connection);
}

static GSocketAddress *
loopback (void)
{
  g_autoptr (GInetAddress) address = g_inet_address_new_loopback (G_SOCKET_FAMILY_IPV4);
  return g_inet_socket_address_new (address, 0);
}

BkConnection *
bk_connection_new (SoupServer *soup, GSocketConnection *stream, BkConnectionEnd end, gpointer user_data)
{
  /* libsoup wants internet addresses for requests without a Host. */
  g_autoptr (GSocketAddress) local = loopback ();
  BkConnection *connection = g_new0 (BkConnection, 1);
  connection->stream = stream;
  connection->peer = loopback ();
  connection->end = end;
  connection->end_data = user_data;
  connection->is_unix = g_socket_get_family (g_socket_connection_get_socket (stream)) == G_SOCKET_FAMILY_UNIX;
  g_object_set_data (G_OBJECT (connection->peer), KEY, connection);
  g_object_weak_ref (G_OBJECT (stream), on_stream_gone, connection);
  set_timer (connection);
  g_autoptr (GError) error = NULL;
  if (!soup_server_accept_iostream (soup, G_IO_STREAM (stream), local, connection->peer, &error))
    g_warning ("a connection was not accepted: %s", error->message);
  return connection;
}

BkConnection *
bk_connection_of (SoupServerMessage *message)
{
  GSocketAddress *peer = soup_server_message_get_remote_address (message);
  return peer ? g_object_get_data (G_OBJECT (peer), KEY) : NULL;
}

static bool
peer_is_one_of_us (BkConnection *connection)
{
  g_autoptr (GCredentials) peer = g_socket_get_credentials (g_socket_connection_get_socket (connection->stream), NULL);
  uid_t uid = peer ? g_credentials_get_unix_user (peer, NULL) : (uid_t)-1;
  return uid != (uid_t)-1 && (uid == 0 || uid == geteuid ());
}

/* @host: as in the Host header: "localhost:8080", "[::1]". */
static bool
names_loopback (const char *host)
{
  static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    size_t length = strlen (names[i]);
    if (g_ascii_strncasecmp (host, names[i], length) != 0)
      continue;
    const char *rest = host + length;
    if (rest[0] == '\0' || (rest[0] == ':' && rest[1] != '\0' && strspn (rest + 1, "0123456789") == strlen (rest + 1)))
      return true;
  }
  return false;
}

static bool
is_own_origin (const char *origin, const char *host)
{
  return g_str_has_prefix (origin, "http://") && g_ascii_strcasecmp (origin + strlen ("http://"), host) == 0;
}

bool
bk_connection_admits (BkConnection *connection, SoupServerMessage *message, const char **why)
{
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (message);
  const char *host = soup_message_headers_get_one (headers, "Host");
  const char *origin = soup_message_headers_get_one (headers, "Origin");
  if (connection->is_unix) {
    *why = "this socket serves root and the daemon's own user only";
    return peer_is_one_of_us (connection);
  }
  /* A page whose name was made to point here still carries its own name. */
  *why = "the Host of a request over TCP must be localhost, 127.0.0.1 or [::1]";
  if (host == NULL || !names_loopback (host))
    return false;
  *why = "requests from pages of other origins are refused";
  return origin == NULL || is_own_origin (origin, host);
}

static void
on_answered (gpointer user_data)
{
  set_timer (user_data);
}

static void
on_exchange_freed (gpointer user_data)
{
  BkConnection *connection = user_data;
  connection->exchange = NULL;
}

static void
on_cut (gpointer user_data)
{
  bk_connection_cut (user_data);
}

void
bk_connection_set_exchange (BkConnection *connection, BkExchange *exchange)
{
  static const BkExchangeHooks hooks = { on_answered, on_exchange_freed, on_cut };
  g_clear_handle_id (&connection->timer, g_source_remove);
  connection->exchange = exchange;
  bk_exchange_set_hooks (exchange, &hooks, connection);
}

void
bk_connection_abort (BkConnection *connection)
{
  if (connection->exchange)
    bk_exchange_abort (connection->exchange);
  g_socket_shutdown (g_socket_connection_get_socket (connection->stream), TRUE, FALSE, NULL);
}

void
bk_connection_cut (BkConnection *connection)
{
  g_socket_shutdown (g_socket_connection_get_socket (connection->stream), TRUE, TRUE, NULL);
}

void
bk_connection_disown (BkConnection *connection)
{
  connection->end = NULL;
}
