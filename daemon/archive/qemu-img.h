/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Running qemu-img (1): the one place that starts it. The calling thread blocks until the child has ended; the
 * child dies with that thread, and so with the daemon.
 */
#pragma once

#include "bk-error.h"

/* A line of the program's standard output, without its end ("\n", or "\r" for progress). */
typedef void (*BkQemuImgLine) (const char *line, gpointer user_data);

/* Runs qemu-img with @arguments (NULL-terminated, without the program). Exit status 1 is an error with the program's
 * last line on stderr; so is any other but 0, unless @exit_status is given to take it. CANCELLED when @cancellable is
 * cancelled: the child gets SIGTERM, and SIGKILL after 2 s. */
gboolean bk_qemu_img_run (const char *const *arguments, BkQemuImgLine line, gpointer user_data,
                          GCancellable *cancellable, int *exit_status, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Stops or continues the children of @cancellable. Who is stopped stays so for its next child. Any thread. */
void bk_qemu_img_pause (GCancellable *cancellable, gboolean pause);
