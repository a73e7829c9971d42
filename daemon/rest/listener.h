/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A listener: an address that we are reached at. A unix socket has mode 0600 from its first moment, and is
 * removed with the listener, if it is still ours. Main thread only.
 */
#pragma once

#include "bk-error.h"

typedef struct BkListener BkListener;

/* @address: unix:PATH or tcp:HOST:PORT. INVALID: neither of these, or not loopback. CONFLICT: somebody listens
 * there. DENIED, FAILED. */
BkListener *bk_listener_new (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_listener_free (BkListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkListener, bk_listener_free)

GSocket *bk_listener_socket (BkListener *listener);
/* As given, but with the real port. */
const char *bk_listener_address (BkListener *listener);
