/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads one sector, to learn whether it can be read. Worker threads.
 *
 *   FAILED       the read failed
 *   NOT_FOUND    there is nothing to read from: nobody listens, or has such an export
 *   UNREACHABLE  no answer within @timeout_ms: nothing is known
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>

/* The first sector of @export_name of the NBD server on the unix socket @path. */
gboolean bk_probe_nbd (const char *path, const char *export_name, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The first sector of the file @path, from where it is served and not from memory. A read that does not end keeps a
 * thread of its own until it does. */
gboolean bk_probe_file (const char *path, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether somebody listens on the unix socket @path. */
bool bk_probe_listener (const char *path);
