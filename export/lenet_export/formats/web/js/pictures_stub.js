export const fromRGBA = () => { throw new Error("pictures: not merged yet"); };
