/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The form of members that several requests have: what can be said of them without the thing behind. NULL, as of a
 * member that is left out, is right. INVALID, with a JSON pointer. Pure.
 */
#pragma once

#include <gio/gio.h>

/* /id: the caller's own ID. */
gboolean bk_request_check_id (const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* /MEMBER: an absolute path. */
gboolean bk_request_check_path (const char *member, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* /listen: "unix" or "tcp:HOST:PORT" (an IPv6 address in brackets; port 0: any). Whether it may be used, and is free, is
 * known where the server is started. */
gboolean bk_request_check_listen (const char *listen, GError **error) G_GNUC_WARN_UNUSED_RESULT;
