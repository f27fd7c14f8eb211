// Numbers of workgroups and threads in a grid that was spread over x and y.

fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
