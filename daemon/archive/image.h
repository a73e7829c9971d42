/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Disk images by means of qemu-img (1): create, convert, measure. Blocking: worker threads. The program is
 * found in PATH, or named by the environment variable BACKUPD_QEMU_IMG. Its last line on stderr becomes the
 * message of the error; "No space left" becomes NO_SPACE. A child is ended when @cancellable is cancelled,
 * and dies with the daemon.
 */
#pragma once

#include "bk-types.h"

/* Makes an empty image of @size bytes at @path (mode 0600), which must not exist (CONFLICT) unless @force, which
 * replaces a regular file. @format raw or qcow2 (v3). @backing: file name for the header as it shall stand there
 * (relative to @path's folder), qcow2, not opened; or NULL. A block device or NBD URI is checked as
 * bk_output_check() does and otherwise left alone. */
gboolean bk_image_create (const char *path, const char *format, uint64_t size, const char *backing, bool force,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
  char *format;
  uint64_t virtual_size;
  uint64_t bytes_stored; /* taken on the file system */
  char *backing;         /* full path or NULL */
} BkImageInfo;
void bk_image_info_free (BkImageInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkImageInfo, bk_image_info_free)

/* @format: NULL = probe. */
BkImageInfo *bk_image_info (const char *path, const char *format, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Bytes of @path (qcow2) that its own layer holds as data, and as explicit zeroes. Backing files are not
 * looked at. */
gboolean bk_image_measure (const char *path, uint64_t *data, uint64_t *zero, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qemu-img check; CORRUPT with its word when the image has errors (leaks are none). */
gboolean bk_image_check (const char *path, const char *format, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What callers append to the name of a file while it is written. */
#define BK_IMAGE_TEMPORARY_SUFFIX ".restoring"

typedef enum {
  BK_OUTPUT_FILE,   /* made anew: written beside, fsynced, renamed at the end */
  BK_OUTPUT_DEVICE, /* block device: must be large enough */
  BK_OUTPUT_NBD,    /* NBD URI: must have just that size */
} BkOutputKind;

/* What @output is: an NBD URI, an existing block device, else a file. */
BkOutputKind bk_output_kind (const char *output);

/* CONFLICT when @output, a file or block device, exists and another program has it open and locked, as QEMU has the
 * images of running VMs. Never for files that this process has locked itself: closing them here would let go of its
 * locks. */
gboolean bk_output_check_unused (const char *output, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* INVALID, CONFLICT (exists; say --force; or in use), NOT_FOUND (no such folder), NO_SPACE (device too
 * small), DENIED, without touching anything. An NBD server is not asked: many serve one client and end. */
gboolean bk_output_check (const char *output, const char *format, uint64_t size, bool force, GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef void (*BkImageProgress) (uint64_t done, uint64_t total, gpointer user_data);

/* Copies the whole visible content of @source (qcow2, with its backing files) to @output in @format, sparse.
 * A file appears under its name only when it is complete and on stable storage; @temporary is the name it has
 * until then (in the same folder; of an earlier attempt it is removed), removed on failure; not used for devices
 * and NBD, where what is zero is written as zero. CONFLICT when the file exists, unless @force. @speed: bytes per
 * second, 0 = no limit. */
gboolean bk_image_convert (const char *source, const char *output, const char *temporary, const char *format, bool force,
                           uint64_t speed, BkImageProgress progress, gpointer user_data, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Moves @path (qcow2) to another backing file with the same visible content; @backing as it shall stand in the
 * header, NULL = none. Works on a copy (".NAME.rebase" beside @path) that replaces @path when it is complete and on
 * stable storage: at each moment @path is the old or the new image. Readers that have it open keep the old one. */
gboolean bk_image_rebase (const char *path, const char *backing, BkImageProgress progress, gpointer user_data,
                          GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Stops (SIGSTOP) or continues the children that run for @cancellable, and those that will. Any thread. */
void bk_image_pause (GCancellable *cancellable, bool pause);
