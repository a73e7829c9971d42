/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * NBD addresses as in the NBD URI specification, of the kinds that a push target may have:
 * nbd://HOST[:PORT]/EXPORT and nbd+unix:///EXPORT?socket=PATH.
 */
#pragma once

#include "bk-error.h"

typedef struct {
  char *host;        /* NULL for a unix socket */
  unsigned port;     /* 10809 unless given */
  char *path;        /* of the unix socket, or NULL */
  char *export_name; /* decoded; "" = the default export */
} BkNbdUri;

/* INVALID when @text is none of these. Pure. */
BkNbdUri *bk_nbd_uri_parse (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_nbd_uri_free (BkNbdUri *uri);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkNbdUri, bk_nbd_uri_free)

/* Connects, within 10 s; not a byte is sent. UNREACHABLE, CANCELLED. Worker threads. (transfer full) */
GSocketConnection *bk_nbd_uri_connect (const BkNbdUri *uri, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Ends the connection for everybody who has a duplicate of it, also for one who waits for room to write while
 * the server takes nothing. Any thread. */
void bk_nbd_cut (GSocketConnection *connection);
