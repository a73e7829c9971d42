/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One connection to one QMP monitor socket, kept up by itself: connect, greeting, capabilities (with oob
 * where offered), reconnect with back-off (0.25 s doubling to 30 s). No timer runs while connected and idle.
 *
 * Threads: the client lives on the main context that was the default one when it was made; new, free,
 * start, state and the notify function are for that thread. bk_qmp_client_call*(), the watches and
 * bk_qmp_client_wait_ready() are for worker threads, and block them; the bytes are moved by the main
 * thread meanwhile.
 *
 * One QMP socket serves one client. A connect that gets no greeting within 2 s is reported as
 * "monitor busy" (another program, often libvirt, holds it), the connection is closed and tried again later.
 *
 * Errors of calls: the QMP command failed: FAILED, with QEMU's text. Not connected, connection lost, time
 * out: UNREACHABLE. Cancelled: CANCELLED. After UNREACHABLE the command may or may not have run: query.
 */
#pragma once

#include "bk-json.h"

typedef struct BkQmpClient BkQmpClient;

typedef enum {
  BK_QMP_DOWN,       /* not connected; see the reason */
  BK_QMP_CONNECTING, /* first try under way */
  BK_QMP_BUSY,       /* somebody else holds the monitor */
  BK_QMP_READY,
} BkQmpState;

/* Called on the main thread at each change of state. */
typedef void (*BkQmpNotify) (BkQmpClient *client, BkQmpState state, gpointer user_data);

/* @event: a QMP event message, {"event", "data", "timestamp"}. Main thread. */
typedef void (*BkQmpEvent) (BkQmpClient *client, const char *name, json_object *data, gpointer user_data);

BkQmpClient *bk_qmp_client_new (const char *socket_path);
BkQmpClient *bk_qmp_client_ref (BkQmpClient *client);
/* Ref and unref from any thread; the socket is closed with bk_qmp_client_stop(). */
void bk_qmp_client_unref (BkQmpClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkQmpClient, bk_qmp_client_unref)

void bk_qmp_client_set_notify (BkQmpClient *client, BkQmpNotify notify, BkQmpEvent event, gpointer user_data);
void bk_qmp_client_start (BkQmpClient *client);
/* Closes and stays down; waiting calls end with UNREACHABLE. */
void bk_qmp_client_stop (BkQmpClient *client);
/* Tries to connect now instead of at the end of the back-off; nothing when connected. Any thread. */
void bk_qmp_client_poke (BkQmpClient *client);

BkQmpState bk_qmp_client_state (BkQmpClient *client);
/* Why it is not ready: "no such socket '/run/x.qmp'"; "" when ready. (transfer full). Any thread. */
char *bk_qmp_client_reason (BkQmpClient *client);
/* True when nobody listened at the last attempt to connect: there is no socket, or it is only the name of one. Any thread. */
bool bk_qmp_client_is_refused (BkQmpClient *client);
/* "7.2.22 (Debian ...)" of the last greeting, or NULL. (transfer full). Any thread. */
char *bk_qmp_client_version (BkQmpClient *client);
/* Grows by one with each established connection; 0 = never. Any thread. */
unsigned bk_qmp_client_generation (BkQmpClient *client);
/* Process ID of the peer (SO_PEERCRED) of the last connection, or 0. Any thread. */
pid_t bk_qmp_client_peer_pid (BkQmpClient *client);

/* One value that a caller wants to know again while the connection of @generation lasts; a later one replaces
 * it. @value: (transfer none). bk_qmp_client_kept() gives (transfer full) or NULL. Any thread. */
void bk_qmp_client_keep (BkQmpClient *client, unsigned generation, GBytes *value);
GBytes *bk_qmp_client_kept (BkQmpClient *client, unsigned generation);

/* Blocks until ready or @timeout_ms is over: UNREACHABLE with the reason. Pokes. Worker threads. */
gboolean bk_qmp_client_wait_ready (BkQmpClient *client, unsigned timeout_ms, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* One command of a batch. The fields above the line are the caller's, those below are filled in. */
typedef struct {
  const char *name;
  json_object *arguments; /* (transfer full) or NULL; freed by bk_qmp_call_clear() */
  int fd;                 /* sent along by SCM_RIGHTS, stays the caller's; -1 = none */
  gboolean oob;
  /* --- */
  json_object *result; /* "return" of the answer, NULL when failed */
  GError *error;
  gboolean answered;
} BkQmpCall;

void bk_qmp_call_clear (BkQmpCall *call);

/* Sends all @n commands at once, in order, without waiting between them, and waits for all answers. QEMU runs
 * them in order, and goes on with the next after one that failed. TRUE when all were answered, even with
 * errors: look at each. FALSE with UNREACHABLE or CANCELLED else. 0 for @timeout_ms means 30 s. */
gboolean bk_qmp_client_call_all (BkQmpClient *client, BkQmpCall *calls, unsigned n, unsigned timeout_ms,
                                 GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* One command. @arguments: (transfer full) or NULL. @result: (out) (transfer full) (optional). */
gboolean bk_qmp_client_call (BkQmpClient *client, const char *name, json_object *arguments, json_object **result,
                             GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A watch lets one worker wait for events that concern names with a prefix ("bkd-1a2b3c-42-"): events whose
 * data has id, device or node-name with that prefix; and for connection changes. It holds no content:
 * events announce, queries decide. */
typedef struct BkQmpWatch BkQmpWatch;

/* Any thread. */
BkQmpWatch *bk_qmp_watch_new (BkQmpClient *client, const char *prefix);
void bk_qmp_watch_free (BkQmpWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkQmpWatch, bk_qmp_watch_free)

/* Blocks until something happened since the last wait, bk_qmp_watch_wake() was called, @cancellable is
 * cancelled, or @timeout_ms is over. TRUE when something happened. */
gboolean bk_qmp_watch_wait (BkQmpWatch *watch, unsigned timeout_ms, GCancellable *cancellable);
/* Ends the wait of the worker. Any thread. */
void bk_qmp_watch_wake (BkQmpWatch *watch);
