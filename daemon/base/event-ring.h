/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The event ring: a bounded, numbered record of what changed, for subscribers (SSE, later hooks and
 * metrics) that the publishers have never heard of. Numbers start at 1 and grow by 1; a reader that was
 * away asks for everything after the last number it saw. Main thread only.
 */
#pragma once

#include "bk-types.h"

typedef struct BkEventRing BkEventRing;

typedef struct {
  uint64_t id;
  int64_t at;       /* microseconds since 1970 UTC */
  const char *type; /* "job", "vm", "backup", "checkpoint"; interned */
  char *vm;         /* or NULL */
  char *job;        /* or NULL */
  json_object *body; /* the REST object as it was then */
} BkEvent;

/* Keeps the last @capacity events. */
BkEventRing *bk_event_ring_new (unsigned capacity);
void bk_event_ring_free (BkEventRing *ring);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkEventRing, bk_event_ring_free)

/* Adds an event and calls the subscribers. @body: (transfer full). Returns its number. */
uint64_t bk_event_ring_publish (BkEventRing *ring, const char *type, const char *vm, const char *job, json_object *body);

/* Number of the newest event, 0 = none yet. */
uint64_t bk_event_ring_last (BkEventRing *ring);

/* Oldest event whose number is greater than @after, or NULL. *@lost (may be NULL) tells whether events between were
 * already dropped, or @after is a number that this ring has not given out yet (a reader from before a restart:
 * it should go on from bk_event_ring_last()). Valid until the next publish. */
const BkEvent *bk_event_ring_next (BkEventRing *ring, uint64_t after, gboolean *lost);

typedef void (*BkEventFunc) (const BkEvent *event, gpointer user_data);
/* Subscribers may unsubscribe inside the call, themselves or others, and publish: events are delivered to all in
 * order. Returns a handle > 0. */
unsigned bk_event_ring_subscribe (BkEventRing *ring, BkEventFunc func, gpointer user_data);
void bk_event_ring_unsubscribe (BkEventRing *ring, unsigned handle);
