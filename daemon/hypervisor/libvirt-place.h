/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Folders of one run in which a QEMU under libvirt makes its scratch files and its socket. It opens them by their paths, mostly
 * as a user of its own, who must be able to get there. Worker threads.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>

/* Makes "@folder/@name" for the user @owner ("+UID:+GID", as libvirt tells; NULL = ours), and for nobody else; where that user
 * cannot get into @folder it is "/var/tmp/@name". One that is left over serves as well. DENIED: it would have to be
 * given to a user that is not ours, and we are not root. (transfer full) */
char *bk_libvirt_place_make (const char *folder, const char *name, const char *owner, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes both, with the files in them. */
void bk_libvirt_place_remove (const char *folder, const char *name);

/* Lets the user @owner get through the @n folders above @path as far as they are ours: everybody may, but not see what is there. */
void bk_libvirt_place_open (const char *path, unsigned n, const char *owner);

/* Whether the user @owner can open @path. DENIED, with the folder that is in the way. */
gboolean bk_libvirt_place_check (const char *path, const char *owner, GError **error) G_GNUC_WARN_UNUSED_RESULT;
