/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether anybody writes to images that nobody should be writing to: those of a VM that is shut off, while they are
 * read. Two witnesses, neither of which holds anybody up:
 *
 *  - QEMU's locks. Who may write to an image, QEMU itself or qemu-img, holds a read lock on byte 101 of it (100 + its
 *    permission "write") from before the first write. We only ask for it (F_OFD_GETLK).
 *  - what the kernel tells of the file: times, size and number, or, of a block device, how many sectors were written
 *    to it. That sees also those who came and went between two questions, and those who do not lock.
 *
 * Blocks: worker threads.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>

/* True when somebody has @path open for writing as QEMU does. NOT_FOUND, DENIED, FAILED. */
gboolean bk_image_is_written (const char *path, bool *written, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What tells @path as it is now from any later state: a text that also names it, to be kept for bk_image_watch_check().
 * A file that was changed a moment ago is waited for: the clock of file systems goes in steps. (transfer full) */
char *bk_image_watch_new (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether all that was read of @watches (see above) until this call was as it was when they were made. CONFLICT names
 * the image that somebody has opened or changed. */
gboolean bk_image_watch_check (const char *const *watches, GError **error) G_GNUC_WARN_UNUSED_RESULT;
