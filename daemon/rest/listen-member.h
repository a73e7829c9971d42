/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The member "listen" of requests: where an NBD server is to be reached. Only its form is looked at here; whether
 * the address may be used, and is free, is known where the server is started. Pure.
 */
#pragma once

#include <gio/gio.h>

/* @listen: NULL, "unix" or "tcp:HOST:PORT" (an IPv6 address in brackets; port 0: any). INVALID. */
gboolean bk_listen_member_check (const char *listen, GError **error) G_GNUC_WARN_UNUSED_RESULT;
