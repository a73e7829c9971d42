/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <libsoup/soup.h>
#include <string.h>

/* A page of jobs with many disks is some hundred KiB; this is for an answer that never ends. */
#define MAX_ANSWER (64 << 20)
#define MAX_ITEMS 1000000
#define PAGE 100

struct BkConnection {
  char *address;
  char *base; /* "http://localhost" */
  GSocketConnectable *socket; /* or NULL: what .base says */
  unsigned timeout;
  SoupSession *session;
};

static unsigned
timeout_from_environment (void)
{
  guint64 seconds = 0;
  const char *text = g_getenv ("BACKUPCTL_TIMEOUT");
  return text && g_ascii_string_to_unsigned (text, 10, 1, 86400, &seconds, NULL) ? (unsigned)seconds : 30;
}

static SoupSession *
new_session (BkConnection *connection, unsigned timeout)
{
  SoupSession *session = connection->socket ? soup_session_new_with_options ("remote-connectable", connection->socket, NULL)
                                            : soup_session_new ();
  soup_session_set_timeout (session, timeout);
  soup_session_set_user_agent (session, "backupctl/" BK_VERSION);
  if (connection->socket)
    soup_session_set_proxy_resolver (session, NULL);
  return session;
}

static gboolean
parse_address (BkConnection *connection, GError **error)
{
  const char *address = connection->address;
  if (g_str_has_prefix (address, "unix:") && address[5]) {
      if (strlen (address + 5) >= 108) {
      g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "socket path '%s' is longer than 107 bytes", address + 5);
      return FALSE;
    }
    connection->socket = G_SOCKET_CONNECTABLE (g_unix_socket_address_new (address + 5));
    connection->base = g_strdup ("http://localhost");
    return TRUE;
  }
  g_autoptr (GUri) uri = g_uri_parse (address, SOUP_HTTP_URI_FLAGS, NULL);
  const char *scheme = uri ? g_uri_get_scheme (uri) : "";
  if ((g_str_equal (scheme, "http") || g_str_equal (scheme, "https")) && g_uri_get_host (uri) && *g_uri_get_host (uri) &&
      strlen (g_uri_get_path (uri)) <= 1 && g_uri_get_query (uri) == NULL && g_uri_get_fragment (uri) == NULL) {
    connection->base = g_strndup (address, strlen (address) - (g_str_has_suffix (address, "/") ? 1 : 0));
    return TRUE;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "address '%s' of the daemon must be unix:PATH, http://HOST:PORT or https://HOST:PORT", address);
  return FALSE;
}

BkConnection *
bk_connection_new (const char *address, GError **error)
{
  g_autoptr (BkConnection) connection = g_new0 (BkConnection, 1);
  connection->address = g_strdup (address);
  connection->timeout = timeout_from_environment ();
  if (!parse_address (connection, error))
    return NULL;
  connection->session = new_session (connection, connection->timeout);
  return g_steal_pointer (&connection);
}

void
bk_connection_free (BkConnection *connection)
{
  if (connection == NULL)
    return;
  g_clear_object (&connection->session);
  g_clear_object (&connection->socket);
  g_free (connection->address);
  g_free (connection->base);
  g_free (connection);
}

const char *
bk_connection_address (BkConnection *connection)
{
  return connection->address;
}

unsigned
bk_connection_timeout (BkConnection *connection)
{
  return connection->timeout;
}

/* --- what went wrong --- */

/* Sets @error from @cause, a transport error, with a text that says what to do. */
static void
translate (BkConnection *connection, const GError *cause, GError **error)
{
  const char *address = connection->address;
  if (g_error_matches (cause, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED) ||
      g_error_matches (cause, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE,
                 "cannot reach backupd at %s: %s; is it running? (systemctl start backupd)", address,
                 g_strerror (cause->code == G_IO_ERROR_NOT_FOUND ? ENOENT : ECONNREFUSED));
  else if (g_error_matches (cause, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED))
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED,
                 "cannot reach backupd at %s: Permission denied; run this as the user that the daemon runs as, or as root",
                 address);
  else if (g_error_matches (cause, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "backupd at %s gave no answer within %u s", address, connection->timeout);
  else
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "cannot reach backupd at %s: %s", address, cause->message);
}

static BkErrorCode
code_of_status (unsigned status)
{
  switch (status) {
  case 400:
  case 413:
  case 422:
    return BK_ERROR_INVALID;
  case 401:
  case 403:
    return BK_ERROR_DENIED;
  case 404:
    return BK_ERROR_NOT_FOUND;
  case 409:
    return BK_ERROR_CONFLICT;
  case 502:
  case 503:
  case 504:
    return BK_ERROR_UNREACHABLE;
  case 507:
    return BK_ERROR_NO_SPACE;
  default:
    return BK_ERROR_FAILED;
  }
}

static const char *
member_text (json_object *json, const char *name)
{
  json_object *member = NULL;
  if (!json_object_object_get_ex (json, name, &member) || !json_object_is_type (member, json_type_string))
    return NULL;
  return json_object_get_string_len (member) > 0 ? json_object_get_string (member) : NULL;
}

/* Sets @error from an answer that is no success: from its problem document, or from its status alone. */
static void
set_problem (BkConnection *connection, unsigned status, GBytes *answer, GError **error)
{
  gsize length = 0;
  const char *text = g_bytes_get_data (answer, &length);
  g_autoptr (json_object) problem = length ? bk_json_parse (text, length, NULL) : NULL;
  bool known = json_object_is_type (problem, json_type_object);
  const char *name = known ? member_text (problem, "code") : NULL;
  const char *detail = known ? member_text (problem, "detail") : NULL;
  const char *pointer = known ? member_text (problem, "pointer") : NULL;
  if (detail == NULL)
    detail = known ? member_text (problem, "title") : NULL;
  const BkErrorEntry *entry = bk_error_entry_by_name (name);
  /* A newer daemon may have codes that we do not know; the status says the most of it. */
  BkErrorCode code = g_strcmp0 (entry->name, name) == 0 ? entry->code : code_of_status (status);
  if (detail == NULL)
    g_set_error (error, BK_ERROR, (int)code, "backupd at %s answered %u %s%s", connection->address, status,
                 soup_status_get_phrase (status), name ? "" : "; is it backupd that listens there?");
  else if (pointer && !g_str_has_prefix (detail, pointer))
    g_set_error (error, BK_ERROR, (int)code, "%s: %s", pointer, detail);
  else
    g_set_error (error, BK_ERROR, (int)code, "%s", detail);
}

/* --- one request --- */

static SoupMessage *
new_message (BkConnection *connection, const char *method, const char *path, json_object *body)
{
  g_autofree char *uri = g_strconcat (connection->base, path, NULL);
  SoupMessage *message = soup_message_new (method, uri);
  g_assert (message != NULL); /* the address was parsed before, and the path is ours */
  soup_message_add_flags (message, SOUP_MESSAGE_NO_REDIRECT);
  if (body == NULL)
    return message;
  const char *text = json_object_to_json_string_ext (body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
  g_autoptr (GBytes) bytes = g_bytes_new (text, strlen (text));
  soup_message_set_request_body_from_bytes (message, "application/json", bytes);
  return message;
}

static GBytes *
read_all (BkConnection *connection, GInputStream *stream, GError **error)
{
  g_autoptr (GByteArray) all = g_byte_array_new ();
  guint8 part[65536];
  gssize n = 0;
  g_autoptr (GError) cause = NULL;
  while ((n = g_input_stream_read (stream, part, sizeof part, NULL, &cause)) > 0) {
    g_byte_array_append (all, part, (guint)n);
    if (all->len > MAX_ANSWER) {
      g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "backupd at %s answered with more than 64 MiB", connection->address);
      return NULL;
    }
  }
  if (n == 0)
    return g_byte_array_free_to_bytes (g_steal_pointer (&all));
  translate (connection, cause, error);
  return NULL;
}

static GBytes *
exchange (BkConnection *connection, SoupMessage *message, GError **error)
{
  g_autoptr (GError) cause = NULL;
  g_autoptr (GInputStream) stream = soup_session_send (connection->session, message, NULL, &cause);
  if (stream == NULL) {
    translate (connection, cause, error);
    return NULL;
  }
  g_autoptr (GBytes) answer = read_all (connection, stream, error);
  if (answer == NULL)
    return NULL;
  unsigned status = soup_message_get_status (message);
  if (status >= 200 && status < 300)
    return g_steal_pointer (&answer);
  set_problem (connection, status, answer, error);
  return NULL;
}

json_object *
bk_connection_call (BkConnection *connection, const char *method, const char *path, json_object *body, GError **error)
{
  g_autoptr (SoupMessage) message = new_message (connection, method, path, body);
  g_autoptr (GBytes) answer = exchange (connection, message, error);
  if (answer == NULL)
    return NULL;
  gsize length = 0;
  const char *text = g_bytes_get_data (answer, &length);
  if (length == 0)
    return json_object_new_object ();
  g_autoptr (GError) cause = NULL;
  json_object *json = bk_json_parse (text, length, &cause);
  if (json)
    return json;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "backupd at %s answered with something that is not JSON (%s)",
               connection->address, cause ? cause->message : "null");
  return NULL;
}

static void
not_understood (BkConnection *connection, const char *what, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the answer of backupd at %s is not understood: %s", connection->address,
               what);
}

gpointer
bk_connection_read (BkConnection *connection, const char *method, const char *path, json_object *body,
                    const BkStruct *type, json_object **json, GError **error)
{
  g_autoptr (json_object) answer = bk_connection_call (connection, method, path, body, error);
  if (answer == NULL)
    return NULL;
  g_autoptr (GError) cause = NULL;
  gpointer value = bk_struct_from_json_lax (type, answer, &cause);
  if (value == NULL)
    not_understood (connection, cause->message, error);
  else if (json)
    *json = g_steal_pointer (&answer);
  return value;
}

/* --- lists --- */

static char *
page_path (const char *path, uint64_t wanted, const char *cursor)
{
  g_autoptr (GString) page = g_string_new (path);
  char separator = strchr (path, '?') ? '&' : '?';
  if (wanted) {
    g_string_append_printf (page, "%climit=%" G_GUINT64_FORMAT, separator, MIN (wanted, PAGE));
    separator = '&';
  }
  if (cursor) {
    g_string_append_printf (page, "%ccursor=", separator);
    g_string_append_uri_escaped (page, cursor, NULL, FALSE);
  }
  return g_string_free (g_steal_pointer (&page), FALSE);
}

/* Moves up to @limit (0: all) items of @page to @items. *@next: cursor of the page after it, or NULL. */
static gboolean
take_page (BkConnection *connection, json_object *page, json_object *items, uint64_t limit, char **next, GError **error)
{
  json_object *some = NULL;
  json_object *cursor = NULL;
  if (!json_object_object_get_ex (page, "items", &some) || !json_object_is_type (some, json_type_array)) {
    not_understood (connection, "/items: must be an array", error);
    return FALSE;
  }
  size_t length = json_object_array_length (some);
  for (size_t i = 0; i < length && (limit == 0 || json_object_array_length (items) < limit); i++)
    json_object_array_add (items, json_object_get (json_object_array_get_idx (some, i)));
  json_object_object_get_ex (page, "next", &cursor);
  g_autofree char *before = g_steal_pointer (next);
  *next = cursor ? g_strdup (json_object_get_string (cursor)) : NULL;
  bool circle = *next && (g_strcmp0 (before, *next) == 0 || length == 0);
  if (!circle && json_object_array_length (items) <= MAX_ITEMS)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the list that backupd at %s gives has no end", connection->address);
  return FALSE;
}

json_object *
bk_connection_list (BkConnection *connection, const char *path, uint64_t limit, GError **error)
{
  g_autoptr (json_object) list = json_object_new_object ();
  json_object *items = json_object_new_array ();
  g_autofree char *cursor = NULL;
  json_object_object_add (list, "items", items);
  do {
    g_autofree char *at = page_path (path, limit ? limit - json_object_array_length (items) : 0, cursor);
    g_autoptr (json_object) page = bk_connection_call (connection, "GET", at, NULL, error);
    if (page == NULL)
      return NULL;
    if (!json_object_is_type (page, json_type_object)) {
      not_understood (connection, "/: must be an object", error);
      return NULL;
    }
    if (!take_page (connection, page, items, limit, &cursor, error))
      return NULL;
  } while (cursor && (limit == 0 || json_object_array_length (items) < limit));
  json_object_object_add (list, "next", cursor ? json_object_new_string (cursor) : NULL);
  return g_steal_pointer (&list);
}

/* --- events --- */

/* It goes into a header: a daemon that is not well must not be able to make us send others. */
static bool
is_plain (const char *text)
{
  for (; *text; text++)
    if (!g_ascii_isgraph (*text))
      return false;
  return true;
}

GInputStream *
bk_connection_events (BkConnection *connection, const char *job, const char *after, unsigned quiet, GError **error)
{
  g_autoptr (GString) path = g_string_new ("/v1/events?job=");
  g_string_append_uri_escaped (path, job, NULL, FALSE);
  g_autoptr (SoupMessage) message = new_message (connection, "GET", path->str, NULL);
  SoupMessageHeaders *headers = soup_message_get_request_headers (message);
  soup_message_headers_replace (headers, "Accept", "text/event-stream");
  if (*after && is_plain (after))
    soup_message_headers_replace (headers, "Last-Event-ID", after);
  /* A session of its own, for its own time-out; the connection ends with it. */
  g_autoptr (SoupSession) session = new_session (connection, quiet);
  g_autoptr (GError) cause = NULL;
  g_autoptr (GInputStream) stream = soup_session_send (session, message, NULL, &cause);
  if (stream == NULL) {
    translate (connection, cause, error);
    return NULL;
  }
  unsigned status = soup_message_get_status (message);
  if (status != 200) {
    g_autoptr (GBytes) nothing = g_bytes_new (NULL, 0);
    set_problem (connection, status, nothing, error);
    return NULL;
  }
  g_object_set_data_full (G_OBJECT (stream), "session", g_steal_pointer (&session), g_object_unref);
  return g_steal_pointer (&stream);
}
