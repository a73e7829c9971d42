/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exchange.h"

#include <string.h>

struct BkExchange {
  unsigned refs;
  SoupServerMessage *message;
  BkServices services;
  GPtrArray *words;
  GHashTable *query;
  json_object *body;
  bool has_body;
  bool answered;
  bool aborted; /* answered by ourselves: what its handler says later is not heard any more */
  bool paused;
  bool gone;
  const BkStreamOps *stream;
  gpointer stream_data;
  const BkExchangeHooks *hooks;
  gpointer hooks_data;
};

static void
on_finished (SoupServerMessage *message G_GNUC_UNUSED, gpointer user_data)
{
  bk_exchange_set_gone (user_data);
}

BkExchange *
bk_exchange_new (SoupServerMessage *message, const BkServices *services)
{
  BkExchange *exchange = g_new0 (BkExchange, 1);
  exchange->refs = 1;
  exchange->message = g_object_ref (message);
  exchange->services = *services;
  exchange->words = g_ptr_array_new_with_free_func (g_free);
  exchange->query = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_signal_connect (message, "finished", G_CALLBACK (on_finished), exchange);
  return exchange;
}

BkExchange *
bk_exchange_ref (BkExchange *exchange)
{
  exchange->refs++;
  return exchange;
}

void
bk_exchange_unref (BkExchange *exchange)
{
  if (--exchange->refs > 0)
    return;
  if (exchange->hooks)
    exchange->hooks->freed (exchange->hooks_data);
  g_signal_handlers_disconnect_by_data (exchange->message, exchange);
  g_object_unref (exchange->message);
  g_ptr_array_unref (exchange->words);
  g_hash_table_unref (exchange->query);
  json_object_put (exchange->body);
  g_free (exchange);
}

void
bk_exchange_set_hooks (BkExchange *exchange, const BkExchangeHooks *hooks, gpointer user_data)
{
  exchange->hooks = hooks;
  exchange->hooks_data = user_data;
}

const BkServices *
bk_exchange_services (const BkExchange *exchange)
{
  return &exchange->services;
}

const char *
bk_exchange_header (const BkExchange *exchange, const char *name)
{
  return soup_message_headers_get_one (soup_server_message_get_request_headers (exchange->message), name);
}

const char *
bk_exchange_word (const BkExchange *exchange, unsigned index)
{
  g_assert (index < exchange->words->len);
  return exchange->words->pdata[index];
}

void
bk_exchange_take_words (BkExchange *exchange, GPtrArray *words)
{
  g_ptr_array_unref (exchange->words);
  exchange->words = words;
}

static gboolean
take_parameter (BkExchange *exchange, char *name, char *value, const char *const *allowed, GError **error)
{
  g_autofree char *owned_name = name;
  g_autofree char *owned_value = value;
  if (allowed == NULL || !g_strv_contains (allowed, name)) {
    g_autofree char *known = allowed ? g_strjoinv (", ", (char **)allowed) : g_strdup ("none");
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "?%s: no such parameter here; there is %s", name, known);
    return FALSE;
  }
  if (g_hash_table_contains (exchange->query, name)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "?%s: may be given only once", name);
    return FALSE;
  }
  g_hash_table_insert (exchange->query, g_steal_pointer (&owned_name), g_steal_pointer (&owned_value));
  return TRUE;
}

gboolean
bk_exchange_read_query (BkExchange *exchange, const char *const *allowed, GError **error)
{
  const char *text = g_uri_get_query (soup_server_message_get_uri (exchange->message));
  if (text == NULL)
    return TRUE;
  GUriParamsIter iter;
  g_autoptr (GError) local = NULL;
  char *name = NULL, *value = NULL;
  g_uri_params_iter_init (&iter, text, -1, "&", G_URI_PARAMS_WWW_FORM);
  while (g_uri_params_iter_next (&iter, &name, &value, &local))
    if (!take_parameter (exchange, name, value, allowed, error))
      return FALSE;
  if (local == NULL)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the query string cannot be read: %s", local->message);
  return FALSE;
}

const char *
bk_exchange_query (const BkExchange *exchange, const char *name)
{
  return g_hash_table_lookup (exchange->query, name);
}

gboolean
bk_exchange_query_word (const BkExchange *exchange, const char *name, const char *const *words, const char **word,
                        GError **error)
{
  *word = bk_exchange_query (exchange, name);
  if (*word == NULL || g_strv_contains (words, *word))
    return TRUE;
  g_autofree char *all = g_strjoinv (", ", (char **)words);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "?%s: must be one of %s", name, all);
  return FALSE;
}

gboolean
bk_exchange_query_number (const BkExchange *exchange, const char *name, uint64_t min, uint64_t max, uint64_t *value,
                          GError **error)
{
  const char *text = bk_exchange_query (exchange, name);
  guint64 number = 0;
  if (text == NULL)
    return TRUE;
  if (!g_ascii_string_to_unsigned (text, 10, min, max, &number, NULL)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "?%s: must be a whole number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, name, (guint64)min,
                 (guint64)max);
    return FALSE;
  }
  *value = number;
  return TRUE;
}

bool
bk_exchange_read_body (BkExchange *exchange)
{
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (exchange->message);
  const char *type = soup_message_headers_get_content_type (headers, NULL);
  if (type == NULL || g_ascii_strcasecmp (type, "application/json") != 0) {
    bk_exchange_fail_status (exchange, SOUP_STATUS_UNSUPPORTED_MEDIA_TYPE, BK_ERROR_INVALID,
                             "the body must have the header 'Content-Type: application/json'");
    return false;
  }
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = soup_message_body_flatten (soup_server_message_get_request_body (exchange->message));
  gsize length = 0;
  const char *text = g_bytes_get_data (bytes, &length);
  exchange->body = bk_json_parse (text ? text : "", length, &error);
  exchange->has_body = true;
  if (error == NULL)
    return true;
  bk_exchange_fail_status (exchange, SOUP_STATUS_BAD_REQUEST, BK_ERROR_INVALID, error->message);
  return false;
}

json_object *
bk_exchange_body (const BkExchange *exchange)
{
  g_assert (exchange->has_body);
  return exchange->body;
}

gpointer
bk_exchange_body_struct (BkExchange *exchange, const BkStruct *type)
{
  g_autoptr (GError) error = NULL;
  gpointer value = bk_struct_from_json (type, bk_exchange_body (exchange), &error);
  if (value == NULL)
    bk_exchange_fail (exchange, error);
  return value;
}

gpointer
bk_exchange_body_part (BkExchange *exchange, const BkStruct *type, const char *const *writable)
{
  gpointer value = bk_exchange_body_struct (exchange, type);
  if (value == NULL)
    return NULL;
  json_object_object_foreach (bk_exchange_body (exchange), key, member) {
    (void)member;
    if (g_strv_contains (writable, key))
      continue;
    g_autoptr (GError) error = g_error_new (BK_ERROR, BK_ERROR_INVALID, "/%s: cannot be set", key);
    bk_exchange_fail (exchange, error);
    bk_struct_free (type, value);
    return NULL;
  }
  return value;
}

void
bk_exchange_add_header (BkExchange *exchange, const char *name, const char *value)
{
  soup_message_headers_replace (soup_server_message_get_response_headers (exchange->message), name, value);
}

static void
unpause (BkExchange *exchange)
{
  if (exchange->paused && !exchange->gone)
    soup_server_message_unpause (exchange->message);
  exchange->paused = false;
}

/* @text may be NULL; else it is taken. */
static void
answer (BkExchange *exchange, unsigned status, const char *type, char *text, size_t length)
{
  g_assert (!exchange->answered || exchange->aborted);
  if (exchange->gone || exchange->answered) {
    exchange->answered = true;
    g_free (text);
    return;
  }
  exchange->answered = true;
  soup_server_message_set_status (exchange->message, status, NULL);
  bk_exchange_add_header (exchange, "Cache-Control", "no-store");
  if (text)
    soup_server_message_set_response (exchange->message, type, SOUP_MEMORY_TAKE, text, length);
  if (exchange->hooks)
    exchange->hooks->answered (exchange->hooks_data);
  unpause (exchange);
}

static void
answer_json (BkExchange *exchange, unsigned status, const char *type, json_object *json)
{
  size_t length = 0;
  const char *text = json_object_to_json_string_length (json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
  answer (exchange, status, type, g_memdup2 (text, length + 1), length);
}

void
bk_exchange_reply (BkExchange *exchange, unsigned status, json_object *json)
{
  g_autoptr (json_object) owned = json;
  if (json)
    answer_json (exchange, status, "application/json", json);
  else
    answer (exchange, status, NULL, NULL, 0);
}

void
bk_exchange_reply_struct (BkExchange *exchange, unsigned status, const BkStruct *type, gconstpointer value)
{
  bk_exchange_reply (exchange, status, bk_struct_to_json (type, value));
}

void
bk_exchange_reply_list (BkExchange *exchange, const BkStruct *type, GPtrArray *items, const char *next)
{
  json_object *list = json_object_new_object ();
  json_object *array = json_object_new_array ();
  for (unsigned i = 0; i < items->len; i++)
    json_object_array_add (array, bk_struct_to_json (type, items->pdata[i]));
  json_object_object_add (list, "items", array);
  json_object_object_add (list, "next", next ? json_object_new_string (next) : NULL);
  bk_exchange_reply (exchange, SOUP_STATUS_OK, list);
}

void
bk_exchange_reply_bytes (BkExchange *exchange, GBytes *bytes)
{
  gsize length = 0;
  gconstpointer data = g_bytes_get_data (bytes, &length);
  answer (exchange, SOUP_STATUS_OK, "application/json", g_memdup2 (data, length), length);
}

static void
answer_problem (BkExchange *exchange, const BkProblemDocument *problem)
{
  g_autoptr (json_object) json = bk_struct_to_json (&bk_problem_document_struct, problem);
  answer_json (exchange, (unsigned)problem->status, "application/problem+json", json);
}

void
bk_exchange_fail (BkExchange *exchange, const GError *error)
{
  g_autoptr (BkProblemDocument) problem = bk_problem_document_from_error (error, exchange->has_body);
  answer_problem (exchange, problem);
}

void
bk_exchange_fail_status (BkExchange *exchange, unsigned status, BkErrorCode code, const char *detail)
{
  g_autoptr (BkProblemDocument) problem = bk_problem_document_new (status, code, detail, NULL);
  answer_problem (exchange, problem);
}

bool
bk_exchange_is_answered (const BkExchange *exchange)
{
  return exchange->answered;
}

void
bk_exchange_wait (BkExchange *exchange)
{
  exchange->paused = true;
  soup_server_message_pause (exchange->message);
}

static void
on_wrote_chunk (SoupServerMessage *message G_GNUC_UNUSED, gpointer user_data)
{
  BkExchange *exchange = user_data;
  if (!exchange->gone)
    exchange->stream->written (exchange->stream_data);
}

void
bk_exchange_begin_stream (BkExchange *exchange, const char *content_type, const BkStreamOps *ops, gpointer user_data)
{
  g_assert (!exchange->answered);
  exchange->answered = true;
  SoupMessageHeaders *headers = soup_server_message_get_response_headers (exchange->message);
  soup_message_headers_set_content_type (headers, content_type, NULL);
  soup_message_headers_replace (headers, "Cache-Control", "no-store");
  soup_server_message_set_status (exchange->message, SOUP_STATUS_OK, NULL);
  exchange->stream = ops;
  exchange->stream_data = user_data;
  bool chunked = soup_server_message_get_http_version (exchange->message) != SOUP_HTTP_1_0;
  soup_message_headers_set_encoding (headers, chunked ? SOUP_ENCODING_CHUNKED : SOUP_ENCODING_EOF);
  /* What has been sent is dropped, or the body would grow as long as the stream lasts. */
  soup_message_body_set_accumulate (soup_server_message_get_response_body (exchange->message), FALSE);
  g_signal_connect (exchange->message, "wrote-chunk", G_CALLBACK (on_wrote_chunk), exchange);
}

void
bk_exchange_send (BkExchange *exchange, GString *text)
{
  g_autoptr (GBytes) bytes = g_string_free_to_bytes (text);
  if (exchange->gone)
    return;
  soup_message_body_append_bytes (soup_server_message_get_response_body (exchange->message), bytes);
  soup_server_message_unpause (exchange->message);
}

void
bk_exchange_cut (BkExchange *exchange)
{
  if (exchange->hooks)
    exchange->hooks->cut (exchange->hooks_data);
}

void
bk_exchange_set_gone (BkExchange *exchange)
{
  if (exchange->gone)
    return;
  g_autoptr (BkExchange) held = bk_exchange_ref (exchange);
  exchange->gone = true;
  if (exchange->stream)
    exchange->stream->gone (exchange->stream_data);
}

void
bk_exchange_abort (BkExchange *exchange)
{
  if (exchange->gone)
    return;
  if (!exchange->answered) {
    bk_exchange_fail_status (exchange, SOUP_STATUS_SERVICE_UNAVAILABLE, BK_ERROR_UNREACHABLE,
                             "the daemon is ending; ask again when it is back");
    exchange->aborted = true;
  } else if (exchange->stream) {
    soup_message_body_complete (soup_server_message_get_response_body (exchange->message));
    soup_server_message_unpause (exchange->message);
    bk_exchange_set_gone (exchange);
  }
}
