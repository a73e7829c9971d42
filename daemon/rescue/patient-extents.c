/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "patient-extents.h"

/* The last extent is held back: it grows when all behind it turns out to be data as well. */
typedef struct {
  BkExtentFunc func;
  gpointer user_data;
  uint64_t offset, length;
  BkExtentKind kind;
  GError *refused; /* by func */
} Walk;

bool
bk_patient_is_damage (const GError *error)
{
  return g_error_matches (error, BK_ERROR, BK_ERROR_CORRUPT) || g_error_matches (error, BK_ERROR, BK_ERROR_FAILED);
}

static gboolean
hand_out (Walk *walk)
{
  return walk->length == 0 || walk->func (walk->offset, walk->length, walk->kind, walk->user_data, &walk->refused);
}

static gboolean
hold (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error)
{
  Walk *walk = user_data;
  if (!hand_out (walk)) {
    if (error)
      *error = g_error_copy (walk->refused);
    return FALSE;
  }
  walk->offset = offset;
  walk->length = length;
  walk->kind = kind;
  return TRUE;
}

/* Whatever comes behind what was told is data. */
static gboolean
fill_up (Walk *walk, uint64_t size)
{
  uint64_t end = walk->offset + walk->length;
  if (end < size && walk->length > 0 && walk->kind == BK_EXTENT_DATA)
    walk->length = size - walk->offset;
  else if (end < size && !hold (end, size - end, BK_EXTENT_DATA, walk, NULL))
    return FALSE;
  return hand_out (walk);
}

gboolean
bk_patient_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL;
  Walk walk = { .func = func, .user_data = user_data };
  gboolean walked = bk_reader_extents (reader, hold, &walk, cancellable, &failure);
  if (!walked && (walk.refused || !bk_patient_is_damage (failure))) {
    g_clear_error (&walk.refused);
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  if (fill_up (&walk, reader->size))
    return TRUE;
  g_propagate_error (error, walk.refused);
  return FALSE;
}
