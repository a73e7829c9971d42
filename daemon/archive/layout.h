/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Names of files and folders in a repository. Letters, digits, '.', '_' and '-' stand for themselves, but '.', '_' and
 * '-' not at the beginning; all other bytes are written %XX. A name of a VM or a backup is thus its own folder's
 * name, and no name leads out of its folder or hides.
 */
#pragma once

#include <glib.h>

#define BK_LAYOUT_MARKER "repository.json"
#define BK_LAYOUT_MANIFEST "manifest.json"

/* (transfer full); the empty name is "%". */
char *bk_layout_escape (const char *name);

/* (transfer full), or NULL when @text is not what bk_layout_escape() gives for any name. */
char *bk_layout_unescape (const char *text);

/* "DISK.qcow2"; (transfer full) */
char *bk_layout_image (const char *disk);
