/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Server-Sent Events: a window on the event ring for each subscriber. At most one text is on its way to a
 * subscriber; what happens meanwhile waits in the ring, which is bounded. One that is too slow for the ring is
 * told so by an event "lost" and goes on with what there is; one that takes nothing for a whole heartbeat is
 * cut off.
 */
#include "handlers.h"

#define HEARTBEAT 30    /* s */
#define RETRY_MS "2000" /* what a client waits before it comes back */

typedef struct {
  BkExchange *exchange;
  BkEventRing *ring;
  unsigned handle; /* of the subscription */
  unsigned timer;
  char *vm, *job;  /* filters, or NULL */
  uint64_t after;  /* number of the last event that was sent or passed over */
  bool sending;    /* a text is on its way */
  bool stuck;      /* it was already at the last heartbeat */
} Stream;

static void
stream_free (Stream *stream)
{
  bk_event_ring_unsubscribe (stream->ring, stream->handle);
  g_clear_handle_id (&stream->timer, g_source_remove);
  bk_exchange_unref (stream->exchange);
  g_free (stream->vm);
  g_free (stream->job);
  g_free (stream);
}

static void
send_text (Stream *stream, GString *text)
{
  stream->sending = true;
  bk_exchange_send (stream->exchange, text);
}

static bool
wants (const Stream *stream, const BkEvent *event)
{
  return (stream->vm == NULL || g_strcmp0 (stream->vm, event->vm) == 0) &&
         (stream->job == NULL || g_strcmp0 (stream->job, event->job) == 0);
}

static json_object *
string_or_null (const char *text)
{
  return text ? json_object_new_string (text) : NULL;
}

static GString *
event_text (const BkEvent *event)
{
  g_autoptr (json_object) json = json_object_new_object ();
  g_autofree char *at = bk_time_format (event->at);
  json_object_object_add (json, "id", json_object_new_int64 ((int64_t)event->id));
  json_object_object_add (json, "type", json_object_new_string (event->type));
  json_object_object_add (json, "at", json_object_new_string (at));
  json_object_object_add (json, "vm", string_or_null (event->vm));
  json_object_object_add (json, "job", string_or_null (event->job));
  json_object_object_add (json, "body", json_object_get (event->body));
  GString *text = g_string_new (NULL);
  g_string_printf (text, "id: %" G_GUINT64_FORMAT "\nevent: %s\ndata: %s\n\n", (guint64)event->id, event->type,
                   json_object_to_json_string_ext (json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
  return text;
}

static GString *
lost_text (uint64_t after)
{
  GString *text = g_string_new (NULL);
  g_string_printf (text, "event: lost\ndata: {\"after\":%" G_GUINT64_FORMAT "}\n\n", (guint64)after);
  return text;
}

/* Sends the next event that this subscriber wants, if there is one and nothing is on its way. */
static void
pump (Stream *stream)
{
  while (!stream->sending) {
    gboolean lost = FALSE;
    const BkEvent *event = bk_event_ring_next (stream->ring, stream->after, &lost);
    if (event == NULL)
      return;
    if (lost) {
      send_text (stream, lost_text (stream->after));
      stream->after = event->id - 1;
      return;
    }
    stream->after = event->id;
    if (wants (stream, event))
      send_text (stream, event_text (event));
  }
}

static void
on_event (const BkEvent *event G_GNUC_UNUSED, gpointer user_data)
{
  pump (user_data);
}

static void
on_written (gpointer user_data)
{
  Stream *stream = user_data;
  stream->sending = false;
  stream->stuck = false;
  pump (stream);
}

static void
on_gone (gpointer user_data)
{
  stream_free (user_data);
}

static gboolean
on_heartbeat (gpointer user_data)
{
  Stream *stream = user_data;
  if (stream->stuck) {
    stream->timer = 0;
    bk_exchange_cut (stream->exchange);
    return G_SOURCE_REMOVE;
  }
  stream->stuck = stream->sending;
  if (!stream->sending)
    send_text (stream, g_string_new (":\n\n"));
  return G_SOURCE_CONTINUE;
}

/* Where to start: behind what the client has seen, else now. A number that we have not reached yet is one of an
 * earlier daemon, whose events are lost. */
static bool
find_start (BkExchange *exchange, uint64_t *after, bool *restarted)
{
  g_autoptr (GError) error = NULL;
  uint64_t last = bk_event_ring_last (bk_exchange_services (exchange)->events);
  const char *header = bk_exchange_header (exchange, "Last-Event-ID");
  guint64 seen = 0;
  *after = last;
  if (!bk_exchange_query_number (exchange, "after", 0, INT64_MAX, after, &error)) {
    bk_exchange_fail (exchange, error);
    return false;
  }
  /* A browser that comes back repeats its first URL: the header is younger. */
  if (header && g_ascii_string_to_unsigned (header, 10, 0, INT64_MAX, &seen, NULL))
    *after = seen;
  *restarted = *after > last;
  return true;
}

void
bk_events_stream (BkExchange *exchange)
{
  static const BkStreamOps ops = { on_written, on_gone };
  uint64_t after = 0;
  bool restarted = false;
  if (!find_start (exchange, &after, &restarted))
    return;
  Stream *stream = g_new0 (Stream, 1);
  stream->exchange = bk_exchange_ref (exchange);
  stream->ring = bk_exchange_services (exchange)->events;
  stream->vm = g_strdup (bk_exchange_query (exchange, "vm"));
  stream->job = g_strdup (bk_exchange_query (exchange, "job"));
  stream->after = restarted ? 0 : after;
  stream->handle = bk_event_ring_subscribe (stream->ring, on_event, stream);
  stream->timer = g_timeout_add_seconds (HEARTBEAT, on_heartbeat, stream);
  bk_exchange_begin_stream (exchange, "text/event-stream", &ops, stream);
  GString *text = g_string_new ("retry: " RETRY_MS "\n\n");
  if (restarted) {
    GString *lost = lost_text (after);
    g_string_append (text, lost->str);
    g_string_free (lost, TRUE);
  }
  send_text (stream, text);
}
