/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-ring.h"

typedef struct {
  unsigned handle;
  BkEventFunc func; /* NULL: unsubscribed while a call was under way */
  gpointer user_data;
} Subscriber;

struct BkEventRing {
  unsigned capacity;
  BkEvent **events;     /* number n is at n % capacity */
  uint64_t last;        /* newest number */
  uint64_t delivered;   /* newest number that subscribers were told */
  bool delivering;
  GArray *subscribers;  /* Subscriber */
  unsigned last_handle;
};

static void
event_clear (gpointer data)
{
  BkEvent *event = data;
  g_free (event->vm);
  g_free (event->job);
  json_object_put (event->body);
}

/* Reference-counted: a subscriber that publishes must not pull the event away that it was called for. */
static void
event_unref (BkEvent *event)
{
  if (event != NULL)
    g_rc_box_release_full (event, event_clear);
}

BkEventRing *
bk_event_ring_new (unsigned capacity)
{
  g_assert (capacity > 0);
  BkEventRing *ring = g_new0 (BkEventRing, 1);
  ring->capacity = capacity;
  ring->events = g_new0 (BkEvent *, capacity);
  ring->subscribers = g_array_new (FALSE, TRUE, sizeof (Subscriber));
  return ring;
}

void
bk_event_ring_free (BkEventRing *ring)
{
  if (ring == NULL)
    return;
  for (unsigned i = 0; i < ring->capacity; i++)
    event_unref (ring->events[i]);
  g_free (ring->events);
  g_array_unref (ring->subscribers);
  g_free (ring);
}

static void
call_subscribers (BkEventRing *ring, BkEvent *event)
{
  unsigned count = ring->subscribers->len; /* who subscribes inside a call hears of the next event */
  for (unsigned i = 0; i < count; i++) {
    Subscriber subscriber = g_array_index (ring->subscribers, Subscriber, i);
    if (subscriber.func != NULL)
      subscriber.func (event, subscriber.user_data);
  }
}

static void
forget_unsubscribed (BkEventRing *ring)
{
  for (unsigned i = ring->subscribers->len; i-- > 0;)
    if (g_array_index (ring->subscribers, Subscriber, i).func == NULL)
      g_array_remove_index (ring->subscribers, i);
}

/* Events published inside a subscriber wait until all have heard of the one before, so that everybody sees
 * them in order. */
static void
deliver (BkEventRing *ring)
{
  if (ring->delivering)
    return;
  ring->delivering = true;
  const BkEvent *next = NULL;
  while ((next = bk_event_ring_next (ring, ring->delivered, NULL)) != NULL) {
    BkEvent *event = g_rc_box_acquire ((gpointer)next);
    ring->delivered = event->id;
    call_subscribers (ring, event);
    event_unref (event);
  }
  forget_unsubscribed (ring);
  ring->delivering = false;
}

uint64_t
bk_event_ring_publish (BkEventRing *ring, const char *type, const char *vm, const char *job, json_object *body)
{
  BkEvent *event = g_rc_box_new0 (BkEvent);
  event->id = ++ring->last;
  event->at = g_get_real_time ();
  event->type = g_intern_string (type);
  event->vm = g_strdup (vm);
  event->job = g_strdup (job);
  event->body = body;
  BkEvent **place = &ring->events[event->id % ring->capacity];
  event_unref (*place);
  *place = event;
  uint64_t id = event->id;
  deliver (ring);
  return id;
}

uint64_t
bk_event_ring_last (BkEventRing *ring)
{
  return ring->last;
}

const BkEvent *
bk_event_ring_next (BkEventRing *ring, uint64_t after, gboolean *lost)
{
  uint64_t oldest = ring->last > ring->capacity ? ring->last - ring->capacity + 1 : 1;
  if (lost != NULL)
    *lost = after + 1 < oldest || after > ring->last;
  if (after >= ring->last)
    return NULL;
  return ring->events[MAX (after + 1, oldest) % ring->capacity];
}

unsigned
bk_event_ring_subscribe (BkEventRing *ring, BkEventFunc func, gpointer user_data)
{
  Subscriber subscriber = { ++ring->last_handle, func, user_data };
  g_array_append_val (ring->subscribers, subscriber);
  return subscriber.handle;
}

void
bk_event_ring_unsubscribe (BkEventRing *ring, unsigned handle)
{
  for (unsigned i = 0; i < ring->subscribers->len; i++)
    if (g_array_index (ring->subscribers, Subscriber, i).handle == handle)
      g_array_index (ring->subscribers, Subscriber, i).func = NULL;
  if (!ring->delivering)
    forget_unsubscribed (ring);
}
