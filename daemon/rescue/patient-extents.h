/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The map of a disk whose repository may be damaged: what cannot be told is called data, so that whoever reads it meets the
 * damage, and only where it is.
 */
#pragma once

#include "reader.h"

/* True when the stored bytes are to blame for @error: they do not match, or cannot be read. */
bool bk_patient_is_damage (const GError *error);

/* As bk_reader_extents(); from the first damaged page of the map on, all is BK_EXTENT_DATA. */
gboolean bk_patient_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
