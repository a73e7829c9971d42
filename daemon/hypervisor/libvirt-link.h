/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Connections to libvirt daemons, one for each URI, shared by the VMs of it.
 *
 * A call to libvirt may hang: its daemon may be stopped, or wait for a QEMU that is. So no call is made on the thread that
 * wants it: one of the connection's own makes it, and who wants it waits no longer than he says. A call that nobody waits for any
 * more is not begun, or ends when it ends; what it did is found by looking. A daemon that has not answered in time is down until
 * that call ends. A connection that hangs holds up no other.
 *
 * Events: libvirt-events.h.
 *
 * Threads: new, free, get, unref, watch and unwatch on the main thread, the rest on any.
 */
#pragma once

#include "backend.h"

typedef struct BkLibvirt BkLibvirt;
typedef struct BkLibvirtLink BkLibvirtLink;

BkLibvirt *bk_libvirt_new (void);
void bk_libvirt_free (BkLibvirt *libvirt);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirt, bk_libvirt_free)

/* The connection to @uri; it is being opened when it is new. (transfer full) */
BkLibvirtLink *bk_libvirt_get_link (BkLibvirt *libvirt, const char *uri);
void bk_libvirt_link_unref (BkLibvirtLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirtLink, bk_libvirt_link_unref)

/* Whether the daemon at @uri is on another machine. */
bool bk_libvirt_uri_is_remote (const char *uri);

const char *bk_libvirt_link_uri (const BkLibvirtLink *link);
/* @reason, @version: (out) (optional) (transfer full). The version is that of the hypervisor. */
BkLink bk_libvirt_link_state (BkLibvirtLink *link, char **reason, char **version);

/* Main thread: the state of the link has changed (@uuid and @event NULL), or something happened to a domain: "started",
 * "stopped", "paused", "resumed", "defined", "undefined", "job". */
typedef void (*BkLibvirtNotify) (BkLibvirtLink *link, const char *uuid, const char *event, gpointer user_data);
void bk_libvirt_link_watch (BkLibvirtLink *link, BkLibvirtNotify notify, gpointer user_data);
void bk_libvirt_link_unwatch (BkLibvirtLink *link, BkLibvirtNotify notify, gpointer user_data);

/* Waits until something has happened since *@seen, or @timeout_ms is over, or it is cancelled; updates *@seen. */
void bk_libvirt_link_wait_news (BkLibvirtLink *link, uint64_t *seen, unsigned timeout_ms, GCancellable *cancellable);

/* --- calls --- */

/* What goes into a call and comes out of it. It is not of the caller: he may have left. */
typedef struct {
  char *domain; /* UUID, or a name where it says so */
  char *text, *more;
  uint64_t number;
  unsigned flags;
  gpointer result;
  GDestroyNotify free_result;
} BkLibvirtArgs;

/* Makes the call: on a thread of the link. @connection: virConnectPtr. */
typedef gboolean (*BkLibvirtFunction) (gpointer connection, BkLibvirtArgs *args, GError **error);

/* Has @function called, waits for its end, and takes the result out of it: (transfer full), *@result may be NULL for
 * functions without one. @args: strings are copied. @what, for messages, is a literal.
 * UNREACHABLE: no connection, or no answer within @timeout_ms. CANCELLED. Errors of @function. */
gboolean bk_libvirt_link_call (BkLibvirtLink *link, const char *what, BkLibvirtFunction function, const BkLibvirtArgs *args, gpointer *result, unsigned timeout_ms,
                               GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* libvirt's last error on this thread, as one of ours: NOT_FOUND (domain, checkpoint), DENIED, CONFLICT (something else
 * is under way on the domain), UNREACHABLE, else FAILED. @what was refused. */
void bk_libvirt_set_error (GError **error, const char *what);
