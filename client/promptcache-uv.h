/* promptcache-uv: the event face of promptcache.h in a libuv loop. Link libpromptcache-uv, libpromptcache and libuv. */
#ifndef PROMPTCACHE_UV_H
#define PROMPTCACHE_UV_H

#include <promptcache.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As pc_open_with. The handle is used with the pc_async functions and closed with pc_async_close; the adapter's own uv
 * handles close by themselves in the turns that follow, so let the loop run until it is empty before uv_loop_close. An
 * open connection keeps the loop alive. */
PC_API int pc_uv_open(struct pc_async **ret, uv_loop_t *loop, const struct pc_options *options);

#ifdef __cplusplus
}
#endif
#endif
