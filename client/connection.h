/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The connection to the daemon: requests and answers over a unix socket or HTTP(S), and the translation of
 * all that can go wrong there into the error table. Blocking.
 *
 * The daemon is not trusted to be well: answers are limited in size and time.
 */
#pragma once

#include "bk-types.h"
#include "args.h"

/* @address: unix:PATH, http://HOST:PORT or https://HOST:PORT. BK_ERROR_INVALID. */
BkConnection *bk_connection_new (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_connection_free (BkConnection *connection);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkConnection, bk_connection_free)

const char *bk_connection_address (BkConnection *connection);
/* How long one answer may take, seconds: 30, or BACKUPCTL_TIMEOUT. */
unsigned bk_connection_timeout (BkConnection *connection);

/* Sends @body (or NULL). Returns: (transfer full) the answer's JSON, an empty object when it has no body; NULL with
 *   UNREACHABLE  no connection, no answer in time, or it broke off
 *   DENIED       the socket may not be opened
 *   FAILED       the answer is not JSON, or too long
 *   any code     as the daemon says; the message is its own, with the pointer to the member at fault */
json_object *bk_connection_call (BkConnection *connection, const char *method, const char *path, json_object *body,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* As bk_connection_call(), and reads the answer as @type. @json: the answer itself, or NULL if not wanted. */
gpointer bk_connection_read (BkConnection *connection, const char *method, const char *path, json_object *body,
                             const BkStruct *type, json_object **json, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* GETs a list, page by page, until its end or until there are @limit items (0: all).
 * Returns: (transfer full) {"items": [...], "next": null or the cursor of what was left out}. */
json_object *bk_connection_list (BkConnection *connection, const char *path, uint64_t limit, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Opens the event stream of one job, after event @after ("" = none seen). It fails with G_IO_ERROR_TIMED_OUT when
 * nothing comes for @quiet seconds. */
GInputStream *bk_connection_events (BkConnection *connection, const char *job, const char *after, unsigned quiet,
                                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
