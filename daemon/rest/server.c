/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server.h"

#include "connection.h"
#include "listener.h"
#include "routes.h"

#include <string.h>

#define MAX_CONNECTIONS 128
#define MAX_BODY (1024 * 1024)

/* How long clients are waited for at the end: to take an answer, then to be cut off. */
#define ABORT_MS 500
#define CUT_MS 2000

struct BkServer {
  BkServices services;
  SoupServer *soup;
  GSocketService *service;
  GPtrArray *listeners;   /* BkListener */
  GHashTable *connections; /* set of BkConnection, weak */
};

/* --- limits --- */

static void
on_connection_end (BkConnection *connection, gpointer user_data)
{
  BkServer *server = user_data;
  g_hash_table_remove (server->connections, connection);
}

/* libsoup does not get to see it: it is there to be told so before anything is read. */
static void
turn_away (GSocketConnection *stream)
{
  g_autoptr (BkProblemDocument) problem = bk_problem_document_new (
      SOUP_STATUS_SERVICE_UNAVAILABLE, BK_ERROR_UNREACHABLE, "too many connections; end some, or try again later", NULL);
  g_autoptr (json_object) json = bk_struct_to_json (&bk_problem_document_struct, problem);
  const char *body = json_object_to_json_string_ext (json, JSON_C_TO_STRING_PLAIN);
  g_autofree char *text = g_strdup_printf ("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                                           "Content-Length: %zu\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
                                           strlen (body), body);
  GSocket *socket = g_socket_connection_get_socket (stream);
  g_socket_set_blocking (socket, FALSE);
  g_socket_send (socket, text, strlen (text), NULL, NULL);
}

static gboolean
on_incoming (GSocketService *service G_GNUC_UNUSED, GSocketConnection *stream, GObject *source G_GNUC_UNUSED,
             gpointer user_data)
{
  BkServer *server = user_data;
  if (g_hash_table_size (server->connections) >= MAX_CONNECTIONS)
    turn_away (stream);
  else
    g_hash_table_add (server->connections, bk_connection_new (server->soup, stream, on_connection_end, server));
  return TRUE;
}

/* Answers with a problem and keeps nothing of the body that is still to come. */
static void
refuse (SoupServerMessage *message, const BkServices *services, unsigned status, BkErrorCode code, const char *detail)
{
  g_autoptr (BkExchange) exchange = bk_exchange_new (message, services);
  SoupMessageBody *body = soup_server_message_get_request_body (message);
  soup_message_body_set_accumulate (body, FALSE);
  soup_message_body_truncate (body);
  bk_exchange_fail_status (exchange, status, code, detail);
}

static void
refuse_length (SoupServerMessage *message, const BkServices *services)
{
  refuse (message, services, SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE, BK_ERROR_INVALID, "the body may have 1 MiB at most");
}

/* Before the body is read. */
static void
on_headers (SoupServer *soup G_GNUC_UNUSED, SoupServerMessage *message, const char *path G_GNUC_UNUSED,
            GHashTable *query G_GNUC_UNUSED, gpointer user_data)
{
  BkServer *server = user_data;
  BkConnection *connection = bk_connection_of (message);
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (message);
  const char *why = NULL;
  /* libsoup would cut our answers into as many copies as a client asks for. */
  soup_message_headers_remove (headers, "Range");
  /* One request to a connection: see connection.h. */
  soup_message_headers_replace (soup_server_message_get_response_headers (message), "Connection", "close");
  if (connection == NULL || !bk_connection_admits (connection, message, &why))
    refuse (message, &server->services, SOUP_STATUS_FORBIDDEN, BK_ERROR_DENIED, why ? why : "unknown connection");
  else if (soup_message_headers_get_content_length (headers) > MAX_BODY)
    refuse_length (message, &server->services);
}

/* A body without a length, or one that is longer than it said. */
static void
on_chunk (SoupServerMessage *message, GBytes *chunk G_GNUC_UNUSED, gpointer user_data)
{
  BkServer *server = user_data;
  if (soup_server_message_get_request_body (message)->length > MAX_BODY && soup_server_message_get_status (message) == 0)
    refuse_length (message, &server->services);
}

static void
on_request_started (SoupServer *soup G_GNUC_UNUSED, SoupServerMessage *message, gpointer user_data)
{
  g_signal_connect (message, "got-chunk", G_CALLBACK (on_chunk), user_data);
}

/* --- dispatch --- */

static void
fail_unknown (BkExchange *exchange, const char *method, const char *path, const char *allow)
{
  g_autofree char *detail = allow ? g_strdup_printf ("'%s' does not take %s; it takes %s", path, method, allow)
                                  : g_strdup_printf ("there is nothing at '%s'; see /v1/openapi.json", path);
  if (allow)
    bk_exchange_add_header (exchange, "Allow", allow);
  bk_exchange_fail_status (exchange, allow ? SOUP_STATUS_METHOD_NOT_ALLOWED : SOUP_STATUS_NOT_FOUND,
                           allow ? BK_ERROR_INVALID : BK_ERROR_NOT_FOUND, detail);
}

static void
serve (BkExchange *exchange, const char *method, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *allow = NULL;
  GPtrArray *words = NULL;
  const BkRoute *route = bk_routes_find (method, path, &words, &allow);
  if (route == NULL) {
    fail_unknown (exchange, method, path, allow);
    return;
  }
  bk_exchange_take_words (exchange, words);
  if (!bk_exchange_read_query (exchange, route->query, &error))
    bk_exchange_fail (exchange, error);
  else if (!route->body || bk_exchange_read_body (exchange))
    route->handler (exchange);
}

static void
on_request (SoupServer *soup G_GNUC_UNUSED, SoupServerMessage *message, const char *path, GHashTable *query G_GNUC_UNUSED,
            gpointer user_data)
{
  BkServer *server = user_data;
  BkConnection *connection = bk_connection_of (message);
  g_autoptr (BkExchange) exchange = bk_exchange_new (message, &server->services);
  if (connection)
    bk_connection_set_exchange (connection, exchange);
  serve (exchange, soup_server_message_get_method (message), path);
  if (!bk_exchange_is_answered (exchange))
    bk_exchange_wait (exchange);
}

/* --- the server --- */

BkServer *
bk_server_new (BkQueue *queue, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkServeRegistry *serves,
               BkEventRing *events, BkDoctor *doctor)
{
  BkServer *server = g_new0 (BkServer, 1);
  server->services = (BkServices){ queue, vms, repositories, serves, events, doctor };
  server->listeners = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_listener_free);
  server->connections = g_hash_table_new (NULL, NULL);
  server->soup = soup_server_new ("raw-paths", TRUE, NULL);
  soup_server_add_early_handler (server->soup, NULL, on_headers, server, NULL);
  soup_server_add_handler (server->soup, NULL, on_request, server, NULL);
  g_signal_connect (server->soup, "request-started", G_CALLBACK (on_request_started), server);
  server->service = g_socket_service_new ();
  g_signal_connect (server->service, "incoming", G_CALLBACK (on_incoming), server);
  return server;
}

static void
for_each_connection (BkServer *server, void (*act) (BkConnection *connection))
{
  g_autoptr (GList) all = g_hash_table_get_keys (server->connections);
  for (GList *l = all; l; l = l->next)
    act (l->data);
}

static gboolean
on_tick (gpointer user_data G_GNUC_UNUSED)
{
  return G_SOURCE_CONTINUE;
}

/* libsoup takes a closed socket in only from the main loop, and GLib closes it in a thread of its own. Bounded, as
 * clients must not keep us from ending. */
static void
settle (BkServer *server, unsigned ms)
{
  int64_t end = g_get_monotonic_time () + ms * G_TIME_SPAN_MILLISECOND;
  unsigned tick = g_timeout_add (50, on_tick, NULL);
  while (g_hash_table_size (server->connections) > 0 && g_get_monotonic_time () < end)
    g_main_context_iteration (NULL, TRUE);
  g_source_remove (tick);
}

void
bk_server_free (BkServer *server)
{
  g_signal_handlers_disconnect_by_data (server->service, server);
  g_socket_service_stop (server->service);
  g_socket_listener_close (G_SOCKET_LISTENER (server->service));
  g_object_unref (server->service);
  g_ptr_array_unref (server->listeners);
  soup_server_remove_handler (server->soup, NULL);
  for_each_connection (server, bk_connection_abort);
  settle (server, ABORT_MS);
  for_each_connection (server, bk_connection_cut);
  settle (server, CUT_MS);
  for_each_connection (server, bk_connection_disown);
  g_signal_handlers_disconnect_by_data (server->soup, server);
  g_object_unref (server->soup);
  g_hash_table_unref (server->connections);
  g_free (server);
}

gboolean
bk_server_listen (BkServer *server, const char *address, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (BkListener) listener = bk_listener_new (address, error);
  if (listener == NULL)
    return FALSE;
  if (!g_socket_listener_add_socket (G_SOCKET_LISTENER (server->service), bk_listener_socket (listener), NULL, &local)) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot listen on '%s': %s", address, local->message);
    return FALSE;
  }
  g_message ("listening on '%s'", bk_listener_address (listener));
  g_ptr_array_add (server->listeners, g_steal_pointer (&listener));
  return TRUE;
}

GStrv
bk_server_routes (void)
{
  return bk_routes_list ();
}
