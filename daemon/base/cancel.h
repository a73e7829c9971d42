/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether work shall go on.
 */
#pragma once

#include <gio/gio.h>

/* FALSE, with CANCELLED, when it shall not. @cancellable: NULL = it shall. Any thread. */
gboolean bk_cancel_check (GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
