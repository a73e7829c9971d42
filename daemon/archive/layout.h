/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Names of files and folders in a repository. They are written by bk_path_component_escape(); a name of a VM or
 * a backup is thus its own folder's name.
 */
#pragma once

#include <glib.h>

#define BK_LAYOUT_MARKER "repository.json"
#define BK_LAYOUT_MANIFEST "manifest.json"

/* (transfer full), or NULL when @text is not what bk_path_component_escape() gives for any name. */
char *bk_layout_unescape (const char *text);

/* "DISK.qcow2"; (transfer full) */
char *bk_layout_image (const char *disk);
