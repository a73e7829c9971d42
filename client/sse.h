/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Server-Sent Events: bytes in, events out. Knows nothing of connections.
 */
#pragma once

#include "bk-types.h"

typedef struct BkSse BkSse;

typedef struct {
  const char *id;   /* of this event, or of the last one that had one; "" */
  const char *type; /* "message" when not given */
  const char *data;
} BkSseEvent;

BkSse *bk_sse_new (void);
void bk_sse_free (BkSse *sse);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkSse, bk_sse_free)

/* Takes @length bytes. FAILED when an event is longer than 16 MiB. */
gboolean bk_sse_push (BkSse *sse, const char *bytes, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The next whole event; FALSE when there is none yet. Valid until the next call. */
bool bk_sse_next (BkSse *sse, BkSseEvent *event);
